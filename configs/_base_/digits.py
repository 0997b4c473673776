# (ours) What all tasks on scenes of digits share. Names and colours are those of
# mmscalablevit.datasets.DETECTION_METAINFO.
metainfo = dict(
    classes=tuple(str(digit) for digit in range(10)),
    palette=[
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
        (240, 50, 230),
        (170, 255, 60),
        (250, 190, 190),
    ],
)
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
