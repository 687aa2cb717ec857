"""Why there is no answer, in words that a customer understands; the code is for the log and the record."""

REASONS: dict[str, str] = {
    "fetch_failed": "图片已过期或无法下载，请重新发送图片",
    "fetch_timeout": "图片下载超时，请重新发送图片",
    "tls_failed": "图片无法下载，请重新发送图片",
    "blocked_address": "图片地址不受支持，请直接发送图片",
    "unsupported_scheme": "图片地址不受支持，请直接发送图片",
    "port_not_allowed": "图片地址不受支持，请直接发送图片",
    "credentials_in_url": "图片地址不受支持，请直接发送图片",
    "too_many_redirects": "图片地址不受支持，请直接发送图片",
    "image_url_invalid": "图片地址不受支持，请直接发送图片",
    "image_too_large": "图片太大，请压缩后再发送",
    "body_too_large": "图片太大，请压缩后再发送",
    "too_many_pixels": "图片尺寸太大，请缩小后再发送",
    "image_encoding": "图片无法解密，请重新发送图片",
    "not_an_image": "收到的文件不是图片，请发送图片",
    "unsupported_format": "不支持这种图片格式，请发送 JPEG 或 PNG 图片",
    "image_truncated": "图片不完整，请重新发送图片",
    "image_shape": "图片过于狭长，请裁剪后再发送",
    "image_too_costly": "图片过于复杂，请截图后再发送",
    "image_blocked": "图片未通过安全检查，请换一张图片",
    "image_invalid": "图片无法识别，请换一张图片",
    "question_too_long": "问题太长，请缩短后再问",
    "question_empty": "没有看到问题，请再说一遍",
    "expired": "当前咨询人数较多，请稍后再试",
    "deadline_exceeded": "处理超时，请稍后再试",
    "unavailable": "服务暂时不可用，请稍后再试",
}


def failure_text(failed: str, code: str) -> str:
    """The fallback text, with the reason where there is one to tell."""
    reason = REASONS.get(code)
    return f"{failed}（{reason}）" if reason else failed
