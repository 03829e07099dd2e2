"""Every number of the image experiments that one may edit: the value of each flag where nothing else is said.

A launcher in `image-scripts/` sets the values for a data set; flags typed after it override them. `--help` of a launcher tells
what each flag means (`zslab/config.py` declares them).
"""

from pathlib import Path

from zslab.config import DazleConfig, ImageConfig

TREE = Path(__file__).resolve().parent

TFVAEGAN = ImageConfig(
    # data
    dataset="CUB",
    dataroot=TREE / "data",
    image_embedding="res101",
    class_embedding="att",
    partition=None,
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
    nepoch=300,
    batch_size=64,
    fit_batch_size=False,
    critic_iter=5,
    feedback_loop=2,
    encoded_noise=True,
    lr=1e-4,
    feed_lr=1e-5,
    dec_lr=1e-4,
    beta1=0.5,
    gammaD=10,
    gammaG=10,
    lambda1=10,
    recons_weight=0.01,
    bce_att=False,
    a1=1,
    a2=1,
    freeze_dec=False,
    stale_feedback=False,
    extra_loss=None,
    extra_weight=1,
    # transductive
    transductive=False,
    gammaD2=10,
    gammaG_D2=10,
    unseen_prior="uniform",
    # classification
    syn_num=300,
    transform=True,
    gzsl=True,
    classifier_lr=1e-3,
    classifier_epochs=25,
    # run
    manualSeed=3483,
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

DAZLE = DazleConfig(
    # data
    dataset="CUB",
    dataroot=TREE / "data",
    image_embedding="feature_map_ResNet_101_CUB",
    class_embedding="att",
    split_file=None,
    partition=None,
    standard_split=False,
    att_change="none",
    drop_absent_classes=False,
    w2v=True,
    w2v_file=None,
    allow_missing_w2v=False,
    cache="none",
    # model
    dim_v=300,
    trainable_w2v=True,
    normalize_V=False,
    normalize_F=True,
    uniform_att_1=False,
    uniform_att_2=False,
    is_sigmoid=False,
    non_linear_act=False,
    non_linear_emb=False,
    is_conv=False,
    # loss
    loss_type="CE",
    is_conservative=True,
    is_bias=True,
    bias=1,
    lambda_=0.1,
    # training
    nepoch=20,
    iterations_per_epoch=0,
    batch_size=50,
    fit_batch_size=False,
    sampling="random",
    lr=1e-4,
    weight_decay=1e-4,
    momentum=0.9,
    # run
    manualSeed=214,
    select="none",
    eval_every=1,
    baselines=True,
    report=True,
    device="auto",
    precision="fp32",
    threads=0,
    memory=0,
    deterministic=False,
    output=TREE.parent / "runs",
    resume=False,
    overwrite=False,
    checkpoint_every=1,
)
