-- What wrk sends for `cargo xtask bench`, and how it tells what came back.
-- Arguments: the length of a body to POST, or 0; how many sets of headers to send in turn, or 0.

local requests = {}
local turn = 0

function init(arguments)
  local length, sets = tonumber(arguments[1]), tonumber(arguments[2])
  if length > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", length)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  if sets > 0 then
    for number = 1, sets do
      add_set(number)
    end
    request = function()
      turn = turn % sets + 1
      return requests[turn]
    end
  end
end

-- A set as of a browser of its own: names that no other one sends, others that it leaves out.
function add_set(number)
  local headers = { ["Accept"] = "*/*", ["User-Agent"] = "client " .. number }
  for header = 1, number % 5 + 2 do
    headers["X-Own-" .. number .. "-" .. header] = "value " .. header
  end
  requests[number] = wrk.format(nil, nil, headers)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("result %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
