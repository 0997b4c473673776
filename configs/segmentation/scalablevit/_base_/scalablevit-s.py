# The backbone and what every model with it shares. Complete in itself: MMSegmentation's bases
# resolve by the name of its distribution, which is another one in its maintained fork.
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),  # training crops; test images are not padded
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="ScalableViT",
        arch="small",
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,  # (ours) as in Twins
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/scalablevit-s_in1k.pth",
            prefix="backbone.",
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
