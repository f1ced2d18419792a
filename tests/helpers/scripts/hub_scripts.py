"""Small trainings with transformers' Trainer and with accelerate."""

from __future__ import annotations

from helpers.scripts.framework_case import Case

TRANSFORMERS_IMPORTS = """
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

class Rows(Dataset):
    def __len__(self):
        return len(x)
    def __getitem__(self, index):
        return {"a": x[index], "labels": y[index]}

class Network(PreTrainedModel):
    config_class = PretrainedConfig
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(8, 3)
        self.post_init()
    def _init_weights(self, module):
        pass
    def forward(self, a, labels=None):
        scores = self.layer(a)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}

def train(**more):
    options = {"num_train_epochs": 2, "logging_steps": 4, "per_device_train_batch_size": 8, "save_strategy": "no",
               "per_device_eval_batch_size": 32, "eval_strategy": "epoch", "report_to": [], "use_cpu": True,
               "disable_tqdm": True, **more}
    arguments = TrainingArguments(output_dir=folder + "/out", **options)
    Trainer(Network(PretrainedConfig()), arguments, train_dataset=Rows(), eval_dataset=Rows()).train()
"""
_HF_SCALARS = frozenset({"loss", "eval_loss", "grad_norm"})
TRANSFORMERS = {
    "trainer": Case("train()", scalars=_HF_SCALARS, framework="transformers"),
    # It fetches all batches of an update before the first backward pass.
    "accumulated": Case(
        "train(gradient_accumulation_steps=4, logging_steps=1)",
        updates=6,
        scalars=_HF_SCALARS,
        framework="transformers",
    ),
    # The evaluation fetches with gradients enabled; one batch looks like one of training.
    "evaluation_of_one_batch": Case(
        "train(per_device_eval_batch_size=96)", validation=2, scalars=_HF_SCALARS, framework="transformers"
    ),
    # After 5, 10, 15 and 20 steps, and at the end.
    "evaluation_in_mid_epoch": Case(
        "train(eval_strategy='steps', eval_steps=5)",
        validation=15,
        scalars=_HF_SCALARS,
        framework="transformers",
    ),
}
ACCELERATE_IMPORTS = "from accelerate import Accelerator\n"
_ACCELERATE = """
accelerator = Accelerator(cpu=True, gradient_accumulation_steps={accumulate}, log_with={log}, project_dir=folder)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader, validation = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), DataLoader(TensorDataset(x, y), 32)
model, optimizer, loader, validation = accelerator.prepare(model, optimizer, loader, validation)
accelerator.init_trackers("run")
for epoch in range(2):
    for a, b in loader:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.cross_entropy(model(a), b)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    accelerator.log({{"train_loss": loss.item()}}, step=epoch)
    for a, b in validation:
        with torch.no_grad():
            model(a)
accelerator.end_training()
"""
ACCELERATE = {
    # The validation fetches with gradients enabled, as transformers' no_trainer scripts do.
    "loop": Case(_ACCELERATE.format(accumulate=1, log="None"), made_at="loader, validation = DataLoader"),
    "accumulated_and_logged": Case(
        _ACCELERATE.format(accumulate=2, log="'tensorboard'"),
        updates=12,
        scalars=frozenset({"train_loss"}),
        made_at="loader, validation = DataLoader",
    ),
}
