# The jobs that the tests share with a Sidekiq worker in Ruby; each notes that it ran, as tests/support/jobs.py does.
require "json"
require "sidekiq"

Sidekiq.configure_server { |config| config.options[:poll_interval_average] = 0.4 }

def note(what, job, key)
  line = {what: what, jid: job.jid, key: key, pid: Process.pid, at: Process.clock_gettime(Process::CLOCK_MONOTONIC), note: "Ruby"}
  File.open(ENV.fetch("FORKWORKER_TEST_RECORD"), "a") { |file| file.syswrite(JSON.generate(line) + "\n") }
end

class Crossing
  include Sidekiq::Worker
  sidekiq_options backtrace: 5

  def perform(key, fails_in = "")
    note("start", self, key)
    raise ArgumentError, "not <b>here</b>, in Ruby" if fails_in == "ruby"
    note("end", self, key)
  end
end
