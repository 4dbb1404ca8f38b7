-- Errors in gRPC that no service made, errors of Envoy and of gRPC in place of a service, get the form of our services' errors.

function envoy_on_response(handle)
  local headers = handle:headers()
  local code = tonumber(headers:get("grpc-status") or "0") or 0
  if code ~= 0 and headers:get(":status") == "200" and headers:get("grpc-status-details-bin") == nil then
    give_form(handle, headers, code)
  end
end
