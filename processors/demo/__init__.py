"""Made-up mirrors of some sources (`--demo`). Only the demo itself, the tests and the examples know of them."""
