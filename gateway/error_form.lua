-- The form of our services' errors, for errors that no service made: what to do, a reason for programs, and the request id. The
-- filters `errors` and `outermost` begin with this text. `ADVICE`, by the number of the status, and `REASON`
-- are defined before it.

-- One protobuf field with bytes as its value, encoded by hand.
local function field(number, bytes)
  local size, length = "", #bytes
  repeat
    local seven = length % 128
    length = (length - seven) / 128
    size = size .. string.char(length > 0 and seven + 128 or seven)
  until length == 0
  return string.char(number * 8 + 2) .. size .. bytes
end

local function detail(kind, bytes)
  return field(3, field(1, "type.googleapis.com/google.rpc." .. kind) .. field(2, bytes))
end

-- Encodes a text for the header `grpc-message`.
local function written(text)
  return (text:gsub("[^\32-\36\38-\126]", function(letter)
    return ("%%%02X"):format(letter:byte())
  end))
end

local function read(text)
  return (text:gsub("%%(%x%x)", function(code)
    return string.char(tonumber(code, 16))
  end))
end

-- Puts the form into the headers of an answer. `known`: what the filters before know about the call.
local function give_form(handle, headers, code)
  local advice, reason = ADVICE[code], headers:get(REASON)
  headers:remove(REASON)
  local message = read(headers:get("grpc-message") or ""):sub(1, 700)
  if message:find("[^\32-\126]") then
    return
  end
  local known = handle:streamInfo():dynamicMetadata():get("citybrain.gateway") or {}
  if advice ~= nil and advice.words ~= "" and message:find("x-request-id", 1, true) == nil then
    message = ("%s (%s)"):format(advice.words, message)
  end
  reason = reason or advice and advice.reason or "REFUSED"
  local details = detail("ErrorInfo", field(1, reason) .. field(2, "citybrain.gateway"))
  local wait_s = advice and advice.wait_s > 0 and advice.wait_s or tonumber(headers:get("retry-after") or "")
  if wait_s ~= nil then
    -- RetryInfo, with a Duration in seconds.
    details = details .. detail("RetryInfo", field(1, string.char(8, math.max(0, math.min(math.ceil(wait_s), 127)))))
    headers:replace("retry-after", tostring(wait_s))
  end
  details = details .. detail("RequestInfo", field(1, ((known.request_id or ""):sub(1, 200):gsub("[^\32-\126]", "?"))))
  local status = string.char(8, code) .. field(2, message) .. details
  headers:replace("grpc-message", written(message))
  headers:replace("grpc-status-details-bin", handle:base64Escape(status))
end
