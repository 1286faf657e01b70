"""What sources hold, named once more for `--verify --source`: the rules for names are those of `processors/readers/`,
the way through the files is not. So it can see what a reader overlooked.
"""
