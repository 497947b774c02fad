"""From a corpus on disk to manifests: preparation, splits, folds, lists."""
