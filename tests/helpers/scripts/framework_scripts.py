"""Small trainings in the style of each framework's own examples, and what must be seen of them.

A package is imported once; its scripts then run in forked children.
"""

from __future__ import annotations

from helpers.scripts.framework_case import Case
from helpers.scripts.hub_scripts import ACCELERATE, ACCELERATE_IMPORTS, TRANSFORMERS, TRANSFORMERS_IMPORTS

TORCHVISION_IMPORTS = """
import torchvision
from torchvision.transforms import v2
"""
TORCHVISION = {
    "reference": Case(
        """
def log_every(loader):
    for one in loader:
        yield one

def loaders():
    images = torchvision.datasets.FakeData(24, (3, 32, 32), 3, v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)]))
    sampler, ordered = torch.utils.data.RandomSampler(images), torch.utils.data.SequentialSampler(images)
    return (DataLoader(images, batch_size=4, sampler=sampler, num_workers=0, pin_memory=False),  # made here
            DataLoader(images, batch_size=8, sampler=ordered, num_workers=0))

network = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=1)
main = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1)
scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, main], milestones=[1])
scaler = torch.amp.GradScaler("cpu", enabled=False)
training, validation = loaders()
for epoch in range(2):
    network.train()
    for image, target in log_every(training):
        with torch.amp.autocast("cpu", enabled=False):
            loss = criterion(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    scheduler.step()
    network.eval()
    with torch.inference_mode():
        for image, target in log_every(validation):
            criterion(network(image), target)
""",
        updates=12,
        samples=48,
        validation=6,
        made_at="# made here",
    )
}
TIMM_IMPORTS = """
import timm
from PIL import Image
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, accuracy, update_summary

class Images(Dataset):
    transform = None
    def __len__(self):
        return 24
    def __getitem__(self, index):
        return self.transform(Image.new("RGB", (40, 40), (index, 0, 0))), index % 3
"""
_TIMM = """
device = torch.device("cpu")
network = timm.create_model("test_resnet", num_classes=3, pretrained=False)
optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3)
scheduler = CosineLRScheduler(optimizer, t_initial=2)
training = create_loader(Images(), (3, 32, 32), 4, is_training=True, num_workers=0, device=device, {more})
validation = create_loader(Images(), (3, 32, 32), 8, num_workers=0, device=device, persistent_workers=False)
for epoch in range(2):
    losses = AverageMeter()
    network.train()
    optimizer.zero_grad()
    for number, (a, b) in enumerate(training):
        loss = torch.nn.functional.cross_entropy(network(a), b) / {accumulate}
        losses.update(loss.item() * {accumulate}, a.size(0))
        loss.backward()
        if (number + 1) % {accumulate} == 0:
            optimizer.step()
            optimizer.zero_grad()
    scheduler.step(epoch + 1)
    top1 = AverageMeter()
    network.eval()
    with torch.no_grad():
        for a, b in validation:
            top1.update(accuracy(network(a), b)[0].item(), a.size(0))
    update_summary(epoch, {{"loss": losses.avg}}, {{"top1": top1.avg}}, folder + "/summary.csv", write_header=not epoch)
"""
_TIMM_SCALARS = frozenset({"train_loss", "eval_top1"})
TIMM = {
    "train": Case(
        _TIMM.format(accumulate=1, more="persistent_workers=False"),
        updates=12,
        samples=48,
        scalars=_TIMM_SCALARS,
        made_at="training = create_loader",
        framework="timm",
    ),
    "accumulated": Case(
        _TIMM.format(accumulate=3, more="persistent_workers=False"),
        updates=4,
        samples=48,
        scalars=_TIMM_SCALARS,
        made_at="training = create_loader",
        framework="timm",
    ),
    # Its iterator never ends.
    "multi_epochs": Case(
        _TIMM.format(accumulate=1, more="use_multi_epochs_loader=True, persistent_workers=False"),
        updates=12,
        samples=48,
        scalars=_TIMM_SCALARS,
        made_at="training = create_loader",
        framework="timm",
    ),
}
LIGHTNING_IMPORTS = """
import lightning

class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 3)
    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
    def training_step(self, batch, _index):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, _index):
        self.log("val_loss", self.loss(batch))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

def fit(module, *loaders, **options):
    logger = options.pop("logger", lightning.pytorch.loggers.CSVLogger(folder))
    lightning.Trainer(max_epochs=2, log_every_n_steps=1, accelerator="cpu", enable_checkpointing=False, logger=logger,
                      default_root_dir=folder, enable_model_summary=False, **options).fit(module, *loaders)
"""
LIGHTNING = {
    # Lightning fetches two validation batches before the training, for a check.
    "fit": Case(
        """
training = DataLoader(TensorDataset(x, y), batch_size=8)
fit(Module(), training, DataLoader(TensorDataset(x, y), batch_size=32))
""",
        validation=8,
        scalars=frozenset({"train_loss", "val_loss"}),
        made_at="training = DataLoader",
    ),
    "accumulated_in_bfloat16": Case(
        """
training = DataLoader(TensorDataset(x, y), batch_size=8)
validation = DataLoader(TensorDataset(x, y), batch_size=32)
fit(Module(), training, validation, accumulate_grad_batches=4, precision="bf16-mixed", logger=False)
""",
        updates=6,
        validation=8,
        scalars=frozenset({"train_loss", "val_loss"}),
        made_at="training = DataLoader",
    ),
    # Lightning fetches one batch ahead, as the loader has no length.
    "iterable": Case(
        """
class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(x, y))
training = DataLoader(Stream(), batch_size=8)
fit(Module(), training)
""",
        validation=0,
        scalars=frozenset({"train_loss"}),
        made_at="training = DataLoader",
    ),
    "gan": Case(
        """
class Gan(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.maker, self.judge = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)
    def training_step(self, batch, _index):
        one, other = self.optimizers()
        made = self.maker(torch.randn(len(batch[0]), 4))
        loss = self.judge(batch[0]).mean() - self.judge(made.detach()).mean()
        one.zero_grad()
        self.manual_backward(loss)
        one.step()
        loss = self.judge(made).mean()
        other.zero_grad()
        self.manual_backward(loss)
        other.step()
        self.log("maker_loss", loss)
    def configure_optimizers(self):
        return [torch.optim.Adam(self.judge.parameters()), torch.optim.Adam(self.maker.parameters())]
training = DataLoader(TensorDataset(x), batch_size=8)
fit(Gan(), training)
""",
        updates=48,
        validation=0,
        scalars=frozenset({"maker_loss"}),
        made_at="training = DataLoader",
    ),
}
TORCHDATA_IMPORTS = "from torchdata.stateful_dataloader import StatefulDataLoader\n"
_STATEFUL = """
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = StatefulDataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, num_workers={workers})
for epoch in range(2):
    for number, (a, b) in enumerate(loader):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
        if number == 5:
            loader.state_dict()
"""
TORCHDATA = {
    "alone": Case(_STATEFUL.format(workers=0), validation=0, made_at="loader = Stateful"),
    "workers": Case(_STATEFUL.format(workers=2), validation=0, made_at="loader = Stateful"),
}
WEBDATASET_IMPORTS = "import webdataset\n"
WEBDATASET = {
    "tar": Case(
        """
with webdataset.TarWriter(folder + "/rows.tar") as tar:
    for index in range(96):
        tar.write({"__key__": f"{index:04}", "a.pth": x[index].clone(), "cls": int(y[index])})
rows = webdataset.WebDataset(folder + "/rows.tar", shardshuffle=False, empty_check=False)
rows = rows.decode().to_tuple("a.pth", "cls")
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for a, b in DataLoader(rows, batch_size=8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
""",
        validation=0,
        made_at="DataLoader(rows",
    )
}
ULTRALYTICS_IMPORTS = """
os.environ.update(YOLO_CONFIG_DIR=folder, YOLO_VERBOSE="false", YOLO_AUTOINSTALL="false")
import numpy
from PIL import Image
from ultralytics import YOLO

def images(where, count):
    os.makedirs(where)
    for number in range(count):
        noise = numpy.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=numpy.uint8)
        Image.fromarray(noise).save(f"{where}/{number}.jpg")

OPTIONS = {"epochs": 2, "imgsz": 32, "batch": 8, "plots": False, "save": False, "workers": 2, "device": "cpu",
           "project": folder, "verbose": False, "amp": False, "warmup_epochs": 0, "nbs": 8}
"""
ULTRALYTICS = {
    # 18 images make three batches; the workers that were asked for are ignored on the CPU.
    "classify": Case(
        """
for split in ("train", "val"):
    for name in ("a", "b"):
        images(f"{folder}/pictures/{split}/{name}", 9)
YOLO("yolov8n-cls.yaml").train(data=folder + "/pictures", **OPTIONS)
""",
        updates=6,
        samples=36,
        scalars=frozenset({"train/loss", "val/loss", "metrics/accuracy_top1", "lr/pg0"}),
        framework="ultralytics",
    ),
    "detect": Case(
        """
for split in ("train", "val"):
    images(f"{folder}/boxes/images/{split}", 18)
    os.makedirs(f"{folder}/boxes/labels/{split}")
    for number in range(18):
        with open(f"{folder}/boxes/labels/{split}/{number}.txt", "w") as labels:
            labels.write("0 0.5 0.5 0.4 0.4\\n")
with open(folder + "/boxes.yaml", "w") as file:
    file.write(f"path: {folder}/boxes\\ntrain: images/train\\nval: images/val\\nnames: {{0: thing}}\\n")
YOLO("yolov8n.yaml").train(data=folder + "/boxes.yaml", **OPTIONS)
""",
        updates=6,
        samples=36,
        scalars=frozenset({"train/box_loss", "metrics/mAP50(B)", "val/box_loss", "lr/pg0"}),
        framework="ultralytics",
    ),
}
PACKAGES: dict[str, tuple[str, dict[str, Case]]] = {
    "torchvision": (TORCHVISION_IMPORTS, TORCHVISION),
    "timm": (TIMM_IMPORTS, TIMM),
    "lightning": (LIGHTNING_IMPORTS, LIGHTNING),
    "transformers": (TRANSFORMERS_IMPORTS, TRANSFORMERS),
    "accelerate": (ACCELERATE_IMPORTS, ACCELERATE),
    "torchdata": (TORCHDATA_IMPORTS, TORCHDATA),
    "webdataset": (WEBDATASET_IMPORTS, WEBDATASET),
    "ultralytics": (ULTRALYTICS_IMPORTS, ULTRALYTICS),
}
"""By package: what is imported first, and its scripts."""
