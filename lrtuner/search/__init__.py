"""What an `LRRangeOracle` does, one job to a module.

The way of a sweep is in `sweeping`. `LRRangeOracle` calls that and `presence`. The tuner of a worker has
`worker`.

| module | job |
|---|---|
| `sweeping` | the way of a sweep, from the order to the narrowed space |
| `proposals` | moves what the wrapped oracle proposes into the range of each trial's setting |
| `schedule` | which sweeps are due, and at which values |
| `jobs` | the sweeps that are due: who runs each, and until when it is waited for |
| `answers` | from a worker's answer to a sweep with its range |
| `ranges` | from finished sweeps to the part of the space for each trial, and to the space of all |
| `names` | which hyperparameters are the learning rates, and how each is declared |
| `options` | the options of the sweeps, checked |
| `record` | what a search remembers of its sweeps |
| `project` | the project directory: what is written there, and what is mended there after a crash |
| `files` | the names of the files, and how they are written so that a crash leaves them whole |
| `presence` | who takes part in a distributed search, and how an error ends it for all of them |
| `worker` | what a worker of a distributed search sees of the oracle |
| `messages` | what the oracle and the tuners of a search print or warn of |

None of them imports `LRRangeOracle`.
"""
