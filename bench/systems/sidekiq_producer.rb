# The command line of producer.py, without the system's name: MODE JOB COUNT [GAP]
require "json"
require_relative "sidekiq_app"

mode, job, count, gap = ARGV
count = Integer(count)
worker = Object.const_get(job.capitalize)
clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond) }
worker.perform_async(0) if %w[one bulk].include?(mode) # connections are warm
told = {}
cpu = -> { Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) }
began = clock.call
used = cpu.call
case mode
when "fill", "bulk"
  (0...count).each_slice(1000) { |s| Sidekiq::Client.push_bulk("class" => worker, "args" => s.map { |i| [i] }) }
when "one"
  count.times { |i| worker.perform_async(i) }
when "paced"
  told[:instants] = count.times.map do |i|
    sleep gap.to_f
    instant = clock.call
    worker.perform_async(i)
    instant
  end
end
told[:seconds] = (clock.call - began) / 1e9
told[:cpu] = cpu.call - used
puts JSON.generate(told)
