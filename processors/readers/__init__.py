"""One container format each: a position in, raw clips out. Knows no corpus."""
