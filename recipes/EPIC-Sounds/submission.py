"""Predictions in the format of EPIC-Sounds' recognition challenge.

The format is that of the organisers' ``create_submission.py`` (repository
epic-kitchens/C9-epic-sounds): a zip file with ``test.json`` in it.
"""

import json
from zipfile import ZIP_DEFLATED, ZipFile

from speechbrain.utils.distributed import main_process_only

from audiomamba.dataio.files import replaced_file

CHALLENGE = "audio_based_interaction_recognition"
MEMBER = "test.json"


@main_process_only
def write_submission(path, ids, scores, declared):
    """Write the zip file that the challenge takes.

    Arguments
    ---------
    path : str or Path
        The zip file.
    ids : list of str
        Annotation ids of the test part.
    scores : np.ndarray
        [segments, 44], by ``class_id``; larger is likelier.
    declared : dict
        What participants declare: ``version`` of the challenge, levels of
        supervision ``sls_pt`` (pre-training), ``sls_tl`` (training labels),
        ``sls_td`` (training data), and the modality ``t_mod`` (0: audio).
    """
    results = {
        name: {"interaction": {str(i): float(s) for i, s in enumerate(row)}}
        for name, row in zip(ids, scores)
    }
    content = {**declared, "challenge": CHALLENGE, "results": results}
    with replaced_file(path) as draft:
        with ZipFile(draft, "w", compression=ZIP_DEFLATED) as archive:
            archive.writestr(MEMBER, json.dumps(content))
