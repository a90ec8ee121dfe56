"""The commands of `gateway`, one module for each subject.

`serve`, `demo`, `migrate`, `check` and `health` run or examine this installation. All others manage a gateway by its admin API:
over HTTP where it runs, else in this process, so that a command gives the same answer either way (`api`). `output` prints,
`folder` keeps the data folder and its lock, `secret_files` makes the secrets that are not set.
"""
