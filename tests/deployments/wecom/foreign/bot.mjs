// A bot on the official SDK: answers texts and pictures through a stream, greets, and tells on stdout what happens.
import AiBot from "@wecom/aibot-node-sdk";

const [wsUrl, botId, secret] = process.argv.slice(2);
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const client = new AiBot.WSClient({ wsUrl, botId, secret, logger: quiet, reconnectInterval: 200 });
const tell = (what, more = {}) => console.log(JSON.stringify({ what, ...more }));

client.on("authenticated", () => tell("authenticated"));
client.on("disconnected", () => tell("disconnected"));
client.on("error", (fault) => tell("error", { text: String(fault) }));
client.on("event.enter_chat", (frame) =>
  client.replyWelcome(frame, { msgtype: "text", text: { content: "node: welcome" } }));
client.on("message.text", async (frame) => {
  const stream = AiBot.generateReqId("stream");
  await client.replyStream(frame, stream, "node: one moment", false);
  const answer = await client.replyStream(frame, stream, `node: ${frame.body.text.content}`, true);
  tell("answered", { errcode: answer.errcode });
  await client.sendMessage(frame.body.from.userid, { msgtype: "markdown", markdown: { content: "node: pushed" } });
});
client.on("message.image", async (frame) => {
  const { buffer } = await client.downloadFile(frame.body.image.url, frame.body.image.aeskey);
  await client.replyStream(frame, AiBot.generateReqId("stream"), `node: ${buffer.length} bytes`, true);
});
client.connect();
process.stdin.on("end", () => client.disconnect()).resume();
