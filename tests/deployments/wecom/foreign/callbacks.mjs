// Seals and opens callbacks with the official packages: one JSON object a line on stdin, one on stdout.
import { createInterface } from "node:readline";
import { decrypt, encrypt, getSignature } from "@wecom/crypto";
import { WecomCrypto } from "@wecom/aibot-node-sdk";

const seal = ({ token, key, receiver, text, timestamp, nonce, library }) => {
  if (library === "sdk") return new WecomCrypto(token, key, receiver).encrypt(text, timestamp, nonce);
  const sealed = encrypt(key, text, receiver);
  return { encrypt: sealed, signature: getSignature(token, timestamp, nonce, sealed) };
};
const open = ({ token, key, receiver, signature, timestamp, nonce, sealed, library }) => {
  if (library === "sdk") {
    const crypto = new WecomCrypto(token, key, receiver);
    return { valid: crypto.verifySignature(signature, timestamp, nonce, sealed), text: crypto.decrypt(sealed) };
  }
  return { valid: getSignature(token, timestamp, nonce, sealed) === signature, text: decrypt(key, sealed).message };
};
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  console.log(JSON.stringify(request.sealed ? open(request) : seal(request)));
}
