-- The first filter for a request, and the last for a response. `IN_PIECES`, `CODES`, `LARGE_BYTES`, `MOST_BODY_BYTES`, `LANE_BYTES`,
-- `PEER_BYTES` and `HELD_S` are defined before this text, and the form of errors.
--
-- Bodies are held in memory until they are whole. Large ones go through a lane: it has room for some at a time, and for fewer of one
-- peer. So a peer that sends many, or never ends one, can only keep large bodies of others out. Envoy has one thread here, so there is
-- one lane.

local lane, in_lane, of_peer, numbers = {}, 0, {}, 0

local function leave(number)
  local one = lane[number]
  if one ~= nil then
    lane[number] = nil
    in_lane = in_lane - one.bytes
    local left = of_peer[one.peer] - one.bytes
    of_peer[one.peer] = left > 0 and left or nil
  end
end

-- Takes bodies out of the lane that were in it for too long: nothing here tells when a caller has gone. By then the body has come, or
-- Envoy has ended the call.
local function leave_late(now)
  for number, one in pairs(lane) do
    if now > one.ends then
      leave(number)
    end
  end
end

-- How large the body may be. A call without a body says so, or ends with its headers.
local function size_of(headers)
  local length = headers:get("content-length")
  if length ~= nil then
    return tonumber(length) or MOST_BODY_BYTES
  end
  -- Bodies in HTTP/2 are counted by Envoy itself.
  return headers:get(IN_PIECES) ~= nil and MOST_BODY_BYTES or 0
end

local function enter_lane(handle, said, bytes)
  local now = os.time()
  leave_late(now)
  local peer = (handle:streamInfo():downstreamDirectRemoteAddress() or ""):gsub(":%d+$", "")
  bytes = math.min(bytes, MOST_BODY_BYTES)
  if in_lane + bytes > LANE_BYTES or (of_peer[peer] or 0) + bytes > PEER_BYTES then
    handle:respond({ [":status"] = "503" }, "Too many large requests are under way at once: this one was not begun.")
    return
  end
  numbers = numbers + 1
  lane[numbers] = { bytes = bytes, peer = peer, ends = now + HELD_S }
  in_lane = in_lane + bytes
  of_peer[peer] = (of_peer[peer] or 0) + bytes
  said:set("citybrain.gateway", "lane", tostring(numbers))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local said = handle:streamInfo():dynamicMetadata()
  -- For error answers of later filters.
  said:set("citybrain.gateway", "request_id", headers:get("x-request-id") or "")
  local bytes = size_of(headers)
  headers:remove(IN_PIECES)
  if bytes > LARGE_BYTES then
    enter_lane(handle, said, bytes)
  end
end

function envoy_on_response(handle)
  local known = handle:streamInfo():dynamicMetadata():get("citybrain.gateway")
  if known ~= nil and known.lane ~= nil then
    leave(tonumber(known.lane))
  end
  -- The gRPC-Web filter writes UNKNOWN over codes of the gateway's own errors: put the right one back.
  local headers = handle:headers()
  local code = CODES[headers:get(":status")]
  if code ~= nil and headers:get("grpc-status") ~= nil then
    headers:replace("grpc-status", code)
    if headers:get("grpc-status-details-bin") == nil then
      give_form(handle, headers, tonumber(code))
    end
  end
end
