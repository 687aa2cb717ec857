"""GLM-4V-9B computed from its published weights alone, step by step and a head at a time: no module, no cache.

Written from the published description, and from nothing of this package's.
"""

import math

import torch


def text_logits(config: dict, weights: dict, embeddings: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """(tokens, vocabulary) of (tokens, hidden) embeddings at these positions."""
    hidden = embeddings
    for layer in range(config["num_layers"]):
        part = {k.split(f"layers.{layer}.")[1]: w for k, w in weights.items() if f"encoder.layers.{layer}." in k}
        normed = _rms(hidden, part["input_layernorm.weight"], config["layernorm_epsilon"])
        hidden = hidden + _attention(config, part, normed, positions)
        normed = _rms(hidden, part["post_attention_layernorm.weight"], config["layernorm_epsilon"])
        both = normed @ part["mlp.dense_h_to_4h.weight"].T
        gate, up = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        hidden = hidden + (gate * torch.sigmoid(gate) * up) @ part["mlp.dense_4h_to_h.weight"].T
    last = _rms(hidden, weights["transformer.encoder.final_layernorm.weight"], config["layernorm_epsilon"])
    return last @ weights["transformer.output_layer.weight"].T


def _rms(values: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return values / torch.sqrt((values * values).mean(-1, keepdim=True) + epsilon) * weight


def _attention(config: dict, part: dict, hidden: torch.Tensor, positions: list[int]) -> torch.Tensor:
    heads, groups, size = config["num_attention_heads"], config["multi_query_group_num"], config["kv_channels"]
    qkv = hidden @ part["self_attention.query_key_value.weight"].T + part["self_attention.query_key_value.bias"]
    queries, keys, values = qkv[:, : heads * size], qkv[:, heads * size :][:, : groups * size], qkv[:, -groups * size :]
    seen = []
    for head in range(heads):
        group = head // (heads // groups)
        query = _rotated(config, queries[:, head * size : (head + 1) * size], positions)
        key = _rotated(config, keys[:, group * size : (group + 1) * size], positions)
        scores = query @ key.T / math.sqrt(size)
        later = torch.ones_like(scores).triu(1) > 0
        seen.append(scores.masked_fill(later, -math.inf).softmax(-1) @ values[:, group * size : (group + 1) * size])
    return torch.cat(seen, 1) @ part["self_attention.dense.weight"].T


def _rotated(config: dict, head: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """Pairs of neighbours in the first half of a head; pair ``i`` by the position over the base's power."""
    turned, found = config["kv_channels"] // 2, head.clone()
    for pair in range(turned // 2):
        frequency = (10000 * config["rope_ratio"]) ** (-2 * pair / turned)
        angles = torch.tensor([position * frequency for position in positions])
        first, second = head[:, 2 * pair], head[:, 2 * pair + 1]
        found[:, 2 * pair] = first * angles.cos() - second * angles.sin()
        found[:, 2 * pair + 1] = second * angles.cos() + first * angles.sin()
    return found


def vision_features(config: dict, weights: dict, picture: torch.Tensor) -> torch.Tensor:
    """(patches of two by two, and one at each end; text hidden) of a normalised (3, side, side) picture."""
    eyes = config["vision_config"]
    tower = {name.removeprefix("transformer.vision."): weight for name, weight in weights.items() if ".vision." in name}
    patch, grid = eyes["patch_size"], eyes["image_size"] // eyes["patch_size"]
    kernel, bias = tower["patch_embedding.proj.weight"].flatten(1), tower["patch_embedding.proj.bias"]
    rows = [tower["patch_embedding.cls_embedding"][0]]
    for top in range(grid):
        for left in range(grid):
            cut = picture[:, top * patch : (top + 1) * patch, left * patch : (left + 1) * patch]
            rows.append(kernel @ cut.flatten() + bias)
    hidden = torch.stack(rows) + tower["patch_embedding.position_embedding.weight"]
    for layer in range(eyes["num_hidden_layers"]):
        prefix = f"transformer.layers.{layer}."
        hidden = _vision_layer(eyes, {k[len(prefix) :]: w for k, w in tower.items() if k.startswith(prefix)}, hidden)
    return _projected(tower, hidden[1:], grid) / eyes["scaling_factor"]


def _vision_layer(eyes: dict, part: dict, hidden: torch.Tensor) -> torch.Tensor:
    size, epsilon = eyes["hidden_size"] // eyes["num_heads"], eyes["layer_norm_eps"]
    qkv = hidden @ part["attention.query_key_value.weight"].T + part["attention.query_key_value.bias"]
    seen = []
    for head in range(eyes["num_heads"]):
        query, key, value = (qkv[:, which * eyes["hidden_size"] + head * size :][:, :size] for which in range(3))
        seen.append((query @ key.T / math.sqrt(size)).softmax(-1) @ value)
    attended = torch.cat(seen, 1) @ part["attention.dense.weight"].T + part["attention.dense.bias"]
    hidden = hidden + _layer_norm(attended, part["input_layernorm.weight"], part["input_layernorm.bias"], epsilon)
    inner = _gelu(hidden @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"])
    found = inner @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
    return hidden + _layer_norm(
        found, part["post_attention_layernorm.weight"], part["post_attention_layernorm.bias"], epsilon
    )


def _projected(tower: dict, patches: torch.Tensor, grid: int) -> torch.Tensor:
    square, kernel = patches.view(grid, grid, -1), tower["conv.weight"]
    tokens = []
    for top in range(0, grid, 2):
        for left in range(0, grid, 2):
            parts = [kernel[:, :, y, x] @ square[top + y, left + x] for y in range(2) for x in range(2)]
            tokens.append(sum(parts) + tower["conv.bias"])
    hidden = torch.stack(tokens) @ tower["linear_proj.linear_proj.weight"].T
    hidden = _gelu(_layer_norm(hidden, tower["linear_proj.norm1.weight"], tower["linear_proj.norm1.bias"], 1e-5))
    gate = hidden @ tower["linear_proj.gate_proj.weight"].T
    inner = gate * torch.sigmoid(gate) * (hidden @ tower["linear_proj.dense_h_to_4h.weight"].T)
    whole = inner @ tower["linear_proj.dense_4h_to_h.weight"].T
    return torch.cat([tower["boi"][0], whole, tower["eoi"][0]])


def _layer_norm(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    centred = values - values.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + epsilon) * weight + bias


def _gelu(values: torch.Tensor) -> torch.Tensor:
    return values * (1 + torch.erf(values / math.sqrt(2))) / 2


def picture_logits(config: dict, weights: dict, ids: list[int], picture: torch.Tensor) -> torch.Tensor:
    """Of the three ids that a published prompt has for a picture, replaced by what the tower makes of it."""
    table = weights["transformer.embedding.word_embeddings.weight"]
    place, features = ids.index(config["boi_token_id"]), vision_features(config, weights, picture)
    embeddings = torch.cat([table[ids[:place]], features, table[ids[place + 3 :]]])
    raw = range(len(ids))
    positions = [*raw[: place + 1], *[place + 1] * (len(features) - 2), *raw[place + 2 :]]
    return text_logits(config, weights, embeddings, positions)
