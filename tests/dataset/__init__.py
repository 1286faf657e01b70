"""What a target holds (state, ledger, card), and both targets: a folder, a repo on the Hub."""
