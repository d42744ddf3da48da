#!/usr/bin/env python3
"""The time of a training step of a small CLIP-like model in PyTorch on a CPU, of one process or of several with
DistributedDataParallel over gloo.

Model (defaults): ViT 64x64 patch 8 (+class token), width 256, 6 layers, 4 heads, GELU MLP x4, pre-LN;
text transformer 32 tokens causal, same width/layers/heads, vocab 8192, pooled at the last token;
projection to 256, L2-normalised, learned temperature, symmetric InfoNCE over the (global) batch; AdamW.

  python3 torch_clip.py --threads 1
  python3 torch_clip.py --threads 2 --json out.json
  python3 torch_clip.py --ddp 2 --threads 1 --batch 32     # gloo, batch is per rank
  ... --width 512 --heads 8 --layers 4 --batch 32           # the model of configs/bench_clip_512.toml
  ... --amp bf16         autocast to bfloat16 (oneDNN matmuls)
  ... --compile          torch.compile
Run it with the newest PyTorch there is (PyPI's `torch`), not only Debian's.
Prints one JSON object (rank 0). step_ms: min / p25 / median over the timed steps; flops are the matmul
FLOPs of forward+backward (2*M*N*K, backward counted as twice the forward).
"""
import argparse, json, math, os, resource, sys, time
import torch
import torch.nn as nn
import torch.nn.functional as F


SDPA = hasattr(F, "scaled_dot_product_attention")


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.h, self.causal = heads, causal
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attn(self, x, mask):
        b, s, w = x.shape
        d = w // self.h
        q, k, v = self.qkv(x).view(b, s, 3, self.h, d).permute(2, 0, 3, 1, 4)
        if SDPA:  # PyTorch 2's fused attention
            a = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            return self.proj(a.transpose(1, 2).reshape(b, s, w))
        a = torch.matmul(q, k.transpose(-1, -2)) * (1.0 / math.sqrt(d))
        if self.causal:
            a = a + mask
        a = torch.softmax(a, -1)
        return self.proj(torch.matmul(a, v).transpose(1, 2).reshape(b, s, w))

    def forward(self, x, mask):
        x = x + self.attn(self.ln1(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class Clip(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, n = c.width, (c.image // c.patch) ** 2
        self.c, self.n = c, n
        self.patch = nn.Linear(3 * c.patch * c.patch, w)
        self.cls = nn.Parameter(torch.zeros(1, 1, w))
        self.vpos = nn.Parameter(torch.randn(1, n + 1, w) * 0.02)
        self.tok = nn.Embedding(c.vocab, w)
        self.tpos = nn.Parameter(torch.randn(1, c.text, w) * 0.02)
        self.vis = nn.ModuleList([Block(w, c.heads, False) for _ in range(c.layers)])
        self.txt = nn.ModuleList([Block(w, c.heads, True) for _ in range(c.layers)])
        self.vln, self.tln = nn.LayerNorm(w), nn.LayerNorm(w)
        self.vproj, self.tproj = nn.Linear(w, w, bias=False), nn.Linear(w, w, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("mask", torch.full((c.text, c.text), float("-inf")).triu(1))

    def forward(self, img, ids):
        c, p = self.c, self.c.patch
        b, g = img.shape[0], c.image // p
        x = img.view(b, 3, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(b, g * g, 3 * p * p)
        x = torch.cat([self.cls.expand(b, -1, -1).to(x.dtype), self.patch(x)], 1) + self.vpos
        for blk in self.vis:
            x = blk(x, None)
        t = self.tok(ids) + self.tpos
        for blk in self.txt:
            t = blk(t, self.mask)
        v = F.normalize(self.vproj(self.vln(x[:, 0])).float(), dim=-1)
        u = F.normalize(self.tproj(self.tln(t[:, -1])).float(), dim=-1)
        return v, u, self.scale.exp()


def matmul_flops(c):
    s, b, w = (c.image // c.patch) ** 2 + 1, c.batch, c.width
    lin = 2 * 12 * w * w * c.layers * (s + c.text) * b
    att = 4 * w * c.layers * (s * s + c.text * c.text) * b
    emb = 2 * 3 * c.patch ** 2 * w * (s - 1) * b
    return 3 * (lin + att) + 2 * emb  # no input gradient for the patch embedding


def worker(rank, world, c):
    torch.set_num_threads(c.threads)
    torch.manual_seed(1234)
    if world > 1:
        import torch.distributed as dist, torch.distributed.nn as dnn
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(c.port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    model = Clip(c)
    net = torch.compile(model) if c.compile else model
    if world > 1:
        net = nn.parallel.DistributedDataParallel(net)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    g = torch.Generator().manual_seed(7 + rank)
    img = torch.randn(c.batch, 3, c.image, c.image, generator=g)
    ids = torch.randint(0, c.vocab, (c.batch, c.text), generator=g)
    steps, parts, losses = [], [], []
    for it in range(c.warmup + c.steps):
        if world > 1:
            dist.barrier()
        t0, c0 = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=c.amp == "bf16"):
            v, u, s = net(img, ids)
        lab = torch.arange(c.batch)
        if world > 1:
            v, u = torch.cat(dnn.all_gather(v)), torch.cat(dnn.all_gather(u))
            lab = torch.arange(c.batch * world)
        logits = s * v @ u.t()
        loss = 0.5 * (F.cross_entropy(logits, lab) + F.cross_entropy(logits.t(), lab))
        t1 = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        t2 = time.perf_counter()
        opt.step()
        t3, c1 = time.perf_counter(), time.process_time()
        losses.append(loss.item())
        if it >= c.warmup:
            steps.append(t3 - t0)
            parts.append((t1 - t0, t2 - t1, t3 - t2, c1 - c0))
    q = lambda v, f: sorted(v)[int(f * (len(v) - 1))] * 1e3
    fl = matmul_flops(c)
    out = dict(torch=torch.__version__, threads=c.threads, world=world, batch_per_rank=c.batch, amp=c.amp,
               params=sum(p.numel() for p in model.parameters()), gflop_per_rank_step=fl / 1e9,
               step_ms=dict(min=q(steps, 0), p25=q(steps, .25), median=q(steps, .5), max=q(steps, 1)),
               fwd_ms=q([p[0] for p in parts], .25), bwd_ms=q([p[1] for p in parts], .25), opt_ms=q([p[2] for p in parts], .25),
               cpu_ms_per_step=q([p[3] for p in parts], .25), images_per_s_best=c.batch * world / min(steps),
               gflops_best=fl * world / min(steps) / 1e9, peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
               first_loss=losses[0], last_loss=losses[-1])
    if rank == 0:
        s = json.dumps(out)
        print(s, flush=True)
        if c.json:
            open(c.json, "w").write(s + "\n")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    for k, v in dict(threads=1, steps=12, warmup=2, batch=64, image=64, patch=8, width=256, layers=6, heads=4, text=32, vocab=8192, ddp=1, port=29533).items():
        p.add_argument("--" + k, type=int, default=v)
    p.add_argument("--amp", choices=["none", "bf16"], default="none")
    p.add_argument("--json")
    p.add_argument("--compile", action="store_true", help="torch.compile (PyTorch 2)")
    c = p.parse_args()
    if c.ddp > 1:
        import torch.multiprocessing as mp
        mp.spawn(worker, (c.ddp, c), nprocs=c.ddp)
    else:
        worker(0, 1, c)
