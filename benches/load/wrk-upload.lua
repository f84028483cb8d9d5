-- POSTs 1 MiB each time.
wrk.method = "POST"
wrk.body = string.rep("x", 1048576)
done = function(summary, latency, requests)
  io.write(string.format(
    "\nbench %d %d %d %.1f %.1f\n",
    summary.requests,
    summary.duration,
    summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.status + summary.errors.timeout,
    latency:percentile(50),
    latency:percentile(99)))
end
