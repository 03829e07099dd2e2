"""Every number of the action experiments that one may edit: the value of each flag where nothing else is said.

A launcher in `action-scripts/` sets the values for a data set; flags typed after it override them. `--help` of a launcher tells
what each flag means (`zslab/config.py` declares them).
"""

from pathlib import Path

from zslab.config import ActionConfig

TREE = Path(__file__).resolve().parent

TFVAEGAN = ActionConfig(
    # data
    dataset="hmdb_i3d",
    dataroot=TREE / "data",
    image_embedding="i3d",
    class_embedding="att",
    split=None,
    partition=None,
    manual_att=False,
    preprocessing=True,
    standardization=False,
    resSize=None,
    attSize=None,
    nclass_all=None,
    # networks
    nz=None,
    ngh=4096,
    ndh=4096,
    # training
    nepoch=200,
    batch_size=64,
    fit_batch_size=False,
    critic_iter=5,
    feedback_loop=2,
    encoded_noise=True,
    lr=1e-4,
    feed_lr=1e-4,
    dec_lr=1e-4,
    beta1=0.5,
    gammaD=10,
    gammaG=10,
    lambda1=10,
    recons_weight=0.1,
    bce_att=True,
    a1=1,
    a2=1,
    freeze_dec=False,
    stale_feedback=False,
    extra_loss=None,
    extra_weight=1,
    # classification
    syn_num=1200,
    transform=True,
    gzsl=True,
    classifier_lr=1e-3,
    classifier_epochs=25,
    # out-of-distribution gate
    gzsl_od=True,
    ood_threshold="release",
    ood_epochs=50,
    ood_lr=1e-3,
    ood_batch_size=64,
    ood_hidden=512,
    # run
    manualSeed=806,
    select="none",
    eval_every=1,
    baselines=True,
    report=True,
    device="auto",
    precision="fp32",
    cuda_graphs=True,
    threads=0,
    memory=0,
    deterministic=False,
    output=TREE.parent / "runs",
    resume=False,
    overwrite=False,
    checkpoint_every=1,
)
