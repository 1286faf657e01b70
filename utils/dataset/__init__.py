"""The published dataset: where its files lie, its state, ledger and card, and the targets that hold it.

It knows no run and no uploader.
"""
