"""The paid source: nothing is bought twice, nothing that was bought is lost, and the money has a limit."""
