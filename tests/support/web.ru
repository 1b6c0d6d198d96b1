# Sidekiq's Web UI, alone.
require "sidekiq/web"

use Rack::Session::Cookie, secret: "a secret of the tests only; ".ljust(64, "0"), same_site: true
run Sidekiq::Web
