-- wrk's script: POST one JSON-RPC message again and again, each with an id of its own, and look at every answer.
-- Its first argument names a Lua file that returns {path, headers, before, after, expected}.

failures = 0
local count = 0
local threads = {}
local config

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  config = dofile(args[1])
  wrk.method = "POST"
  for name, value in pairs(config.headers) do
    wrk.headers[name] = value
  end
end

function request()
  count = count + 1
  return wrk.format(nil, config.path, nil, config.before .. count .. config.after)
end

function response(status, headers, body)
  if status ~= 200 or not string.find(body, config.expected, 1, true)
      or string.find(body, '"isError":true', 1, true) then
    failures = failures + 1
  end
end

function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("failures")
  end
  io.write(string.format('{"requests":%d,"seconds":%f,"p50_us":%d,"p99_us":%d,"failed":%d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50), latency:percentile(99), failed))
end
