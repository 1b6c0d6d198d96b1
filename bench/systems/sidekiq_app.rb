# The jobs of systems/jobs.py, in Ruby.
require "sidekiq"
Warning[:experimental] = false
Redis.silence_deprecations = true # redis-rb 4.8 warns at every BRPOP of Sidekiq 6.4.1
PORT = Integer(ENV.fetch("BENCH_PORT"))
MARKS = IO::Buffer.map(File.open(ENV["BENCH_MARKS"], "r+")) if ENV["BENCH_MARKS"]
INSTANTS = 1 << 20
HEAVY = (0...2_200_000).map { |i| [i, i.to_s] } if ENV["BENCH_HEAVY"] # 200 MB in Ruby, too

[:configure_server, :configure_client].each do |configure|
  Sidekiq.public_send(configure) { |c| c.redis = {url: "redis://127.0.0.1:#{PORT}/0"} }
end
Sidekiq.logger.level = ENV["BENCH_JOB_LOG"] ? Logger::INFO : Logger::WARN

class Noop
  include Sidekiq::Worker
  def perform(n) = MARKS.set_value(:U8, n, 1)
end

class Sleep10
  include Sidekiq::Worker
  def perform(n)
    sleep 0.010
    MARKS.set_value(:U8, n, 1)
  end
end

class Stamp
  include Sidekiq::Worker
  def perform(n)
    MARKS.set_value(:s64, INSTANTS + 24 * n, Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond))
    MARKS.set_value(:U8, n, 1)
  end
end
