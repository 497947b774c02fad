"""Train and test on every fold of ESC-50, and average.

    python run_folds.py hparams/aum_base.yaml --data_folder /path/to/ESC50

Further options are passed on to train.py.  The same command resumes a stopped
run.  The epoch is chosen by two rules: AST's, the one with the best mean
accuracy over the folds' test clips, and the last, which does not depend on the
test clips.  --init_from with --test_only tests given weights as they are.
"""

from audiomamba.training.folds import run_folds

if __name__ == "__main__":
    run_folds(lambda settings: [1, 2, 3, 4, 5])
