-- Proves the harness: what the stand-in on libmilter makes Postfix and Sendmail do, seen through the harness's eyes.
local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"

cases.define("libmilter", filter.stand_in)
