"""Attacks on a run at every step it takes: on the disk (`disk`), at the Hub (`tests.hub.faults`), from outside.

`warm` forks runs from a parent that has everything imported, so that one costs a tenth of a second;
`scenarios` says what is run; `schedules` lists the faults from a recording of an undisturbed run;
`campaign` carries a schedule out and holds what came of it against the undisturbed run (`oracle`).
"""
