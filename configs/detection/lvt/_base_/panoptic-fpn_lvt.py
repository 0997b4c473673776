# Panoptic FPN with narrow heads
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

model = dict(
    type="PanopticFPN",
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    backbone=dict(
        _delete_=True,
        type="LVT",
        arch="lvt",
        out_indices=(0, 1, 2, 3),
        output_norms=False,
        drop_path_rate=0.1,
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/lvt_in1k.pth", prefix="backbone."),
    ),
    neck=dict(in_channels=[64, 64, 160, 256], out_channels=96),
    rpn_head=dict(in_channels=96, feat_channels=96),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96),
        bbox_head=dict(in_channels=96, fc_out_channels=160),
        mask_roi_extractor=dict(out_channels=96),
        mask_head=dict(in_channels=96, conv_out_channels=96),
    ),
    semantic_head=dict(
        type="PanopticFPNHead",
        num_things_classes=80,
        num_stuff_classes=53,
        in_channels=96,
        inner_channels=48,
        norm_cfg=dict(type="GN", num_groups=12, requires_grad=True),
        loss_seg=dict(type="CrossEntropyLoss", ignore_index=255, loss_weight=0.5),
    ),
    panoptic_fusion_head=dict(
        type="HeuristicFusionHead", num_things_classes=80, num_stuff_classes=53
    ),
    # MMDetection's own Panoptic FPN
    test_cfg=dict(
        rcnn=dict(score_thr=0.6, nms=dict(class_agnostic=True)),
        panoptic=dict(mask_overlap=0.5, stuff_area_limit=4096),
    ),
)
