"""Train and test on every fold of one list of clips, and average.

    python run_folds.py hparams/aum_tiny.yaml --data_folder /path/to/sounds \
        --clips_csv /path/to/sounds/clips.csv

Each fold tests once, and the next one validates.  The folds are those of the
list's column ``fold``, or are made.  Further options are passed on to train.py.
The same command resumes a stopped run.
"""

from audiomamba.dataio.corpora.custom import list_folds
from audiomamba.training.folds import run_folds

if __name__ == "__main__":
    run_folds(list_folds)
