"""``python3 -m tools.doctor``: what this machine has, what it lacks, and where to get that.

It runs before anything is installed: the standard library is enough. It changes nothing, waits
for nobody for long, and shows of the environment the settings that it names, and no more.
"""
