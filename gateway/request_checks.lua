-- Checks a call before other filters see it, and a call in JSON before it becomes a gRPC call: in Envoy's transcoder a query
-- parameter can replace a field of the path, and unknown fields are dropped. `METHODS` and the limits are defined before this text.

local ENCODINGS = { gzip = true, deflate = true, identity = true }

local function refuse(handle, field, problem)
  local said = handle:streamInfo():dynamicMetadata()
  said:set("citybrain.gateway", "field", field)
  said:set("citybrain.gateway", "problem", problem)
  handle:respond({ [":status"] = "400" }, field .. ": " .. problem)
end

local function method_of(verb, path)
  for _, method in ipairs(METHODS) do
    if method.verb == verb and path:match(method.path) then
      return method
    end
  end
  return nil
end

local function plain(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(code)
    return string.char(tonumber(code, 16))
  end))
end

-- The field of the path that a name means, lies inside of, or contains.
local function bound_by_path(method, name)
  for _, field in ipairs(method.bound) do
    if name == field or name:sub(1, #field + 1) == field .. "." or field:sub(1, #name + 1) == name .. "." then
      return field
    end
  end
  return nil
end

-- A parameter that must not be there, and the reason.
local function misplaced(method, query)
  for pair in query:gmatch("[^&]+") do
    local name = plain(pair:match("^[^=]*"))
    if bound_by_path(method, name) then
      return name, "is given by the path: leave it out of the query"
    end
    if method.body == "*" then
      return name, "is no parameter of the query here: everything but the path belongs in the body"
    end
    local known = TYPES[method.request]
    if not name:find(".", 1, true) and known.fields[name] == nil then
      return name, "is no parameter of this call: " .. near(name, known.names)
    end
  end
  return nil
end

-- The size of headers as HTTP/2 and gRPC count it: 32 bytes more for each header.
local function size_of(headers)
  local bytes = 0
  for name, value in pairs(headers) do
    bytes = bytes + #name + #value + 32
  end
  return bytes
end

-- What is wrong with a call in gRPC; nil: nothing. A service whose gRPC finds no whole message would never answer, and one that does
-- not know a compression would say that it is broken. A call by reflection may have many messages, and is not held here.
local function broken_grpc(handle, headers)
  local encoding = headers:get("grpc-encoding")
  if encoding ~= nil and not ENCODINGS[encoding] then
    return "grpc-encoding", "must be gzip, deflate or identity"
  end
  if (headers:get(":path") or ""):sub(1, 17) == "/grpc.reflection." then
    return nil
  end
  local body = handle:body()
  local bytes = body ~= nil and body:length() or 0
  local head = bytes >= 5 and body:getBytes(0, 5) or ""
  local packed, a, b, c, d = head:byte(1, 5)
  if d == nil or ((a * 256 + b) * 256 + c) * 256 + d ~= bytes - 5 then
    return "request", "must be one whole message: a byte, the length in four bytes, and that many bytes"
  end
  if packed ~= 0 and (packed ~= 1 or (encoding or "identity") == "identity") then
    return "request", "is packed in a way that grpc-encoding does not name"
  end
  return nil
end

local function look(handle)
  local headers = handle:headers()
  local bytes = size_of(headers)
  if bytes > MOST_HEADER_BYTES then
    local problem = "The headers have %d bytes, with 32 for each, and the most is %d: send less."
    return handle:respond({ [":status"] = "431" }, problem:format(bytes, MOST_HEADER_BYTES))
  end
  local token = headers:get("authorization") or ""
  if token:find("Bearer ", 1, true) and not token:find("^Bearer [%w%-_.]+$") then
    -- The gateway would check one token, and a service could read another.
    return handle:respond({ [":status"] = "401" }, "The header authorization holds more than one token")
  end
  -- Checked here too: the buffer filter does not refuse a too large request that comes in one piece.
  if (tonumber(headers:get("content-length") or "0") or 0) > MOST_BODY_BYTES then
    return handle:respond({ [":status"] = "413" }, "")
  end
  if (headers:get("content-type") or ""):sub(1, 16) == "application/grpc" then
    -- A service's gRPC ends the connection of a call without it, and callers in HTTP/1 often have none.
    headers:replace("te", "trailers")
    local field, problem = broken_grpc(handle, headers)
    if field ~= nil then
      refuse(handle, field, problem)
    end
    return
  end
  -- Only a call in gRPC is packed.
  headers:remove("grpc-encoding")
  local path, _, query = (headers:get(":path") or ""):match("^([^?]*)(%??)(.*)$")
  local method = method_of(headers:get(":method"), path)
  if method == nil then
    return
  end
  local name, problem = misplaced(method, query)
  if name ~= nil then
    return refuse(handle, shown(name), problem)
  end
  local body = method.takes ~= nil and handle:body() or nil
  if body ~= nil and body:length() > 0 then
    local field
    field, problem = check_json(body:getBytes(0, body:length()), method.takes, method.by_path)
    if field ~= nil then
      return refuse(handle, field, problem)
    end
  end
end

function envoy_on_request(handle)
  local whole, problem = pcall(look, handle)
  if not whole then
    -- After an error in Lua, Envoy would let the call go on.
    handle:logErr(tostring(problem))
    handle:respond({ [":status"] = "500" }, "The gateway could not look at this call: its log says why.")
  end
end
