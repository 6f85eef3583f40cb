-- What wrk sends for `cargo xtask bench`, and how it tells what came back.
-- Argument: the length of a body to POST, or 0.

function init(arguments)
  local length = tonumber(arguments[1])
  if length > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", length)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("result %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
