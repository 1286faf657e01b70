"""The parts of the tests' own Hugging Face Hub; `tests.hub_server` puts them together.

objects  <-  store  <-  call  <-  reads, writes  <-  routes         what is kept, and what is said about it
faults, ledger  <-  wire                                            HTTP, what goes wrong, what was seen
look  <-  process                                                   a Hub in a process of its own
"""
