// The tools that the official suite's scenarios of the tasks extension call, as a server of 2025-11-25 on the
// TypeScript SDK 1, over stdio: what the scenarios meet of it is what the gateway's bridge makes of its tasks.
//
//   node tasks_server.mjs          in the directory where the packages are installed
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const local = createRequire(`${process.cwd()}/`);
const load = async (name) => import(pathToFileURL(local.resolve(name)));
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { StdioServerTransport } = await load('@modelcontextprotocol/sdk/server/stdio.js');
const { InMemoryTaskStore, InMemoryTaskMessageQueue } = await load('@modelcontextprotocol/sdk/experimental/tasks');
const { ElicitResultSchema } = await load('@modelcontextprotocol/sdk/types.js');
const { z } = await load('zod');

const server = new McpServer({ name: 'tasks', version: '1' }, {
  capabilities: { tools: {}, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } },
  taskStore: new InMemoryTaskStore(),
  taskMessageQueue: new InMemoryTaskMessageQueue(),
});
const text = (said, more = {}) => ({ content: [{ type: 'text', text: said }], ...more });
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// A tool whose task comes to what `work` returns; to nothing, and so an error of the protocol, where that is nothing.
function task(name, inputSchema, support, work) {
  const about = { inputSchema, execution: { taskSupport: support } };
  server.experimental.tasks.registerToolTask(name, about, {
    async createTask(args, extra) {
      const { taskStore: store } = extra;
      const made = await store.createTask({ ttl: 60_000, pollInterval: 100 });
      const ask = async (message) => {
        await store.updateTaskStatus(made.taskId, 'input_required');
        const requestedSchema = { type: 'object', properties: { confirm: { type: 'boolean' } } };
        const params = { message, requestedSchema };
        const related = { relatedTask: { taskId: made.taskId } };
        await extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema, related);
      };
      const run = async () => {
        const result = await work(args, ask);
        if (result === undefined) return store.updateTaskStatus(made.taskId, 'failed', 'synthetic');
        return store.storeTaskResult(made.taskId, result.isError ? 'failed' : 'completed', result);
      };
      run().catch(() => {}); // It was cancelled.
      return { task: made };
    },
    getTask: async (_, { taskStore, taskId }) => taskStore.getTask(taskId),
    getTaskResult: async (_, { taskStore, taskId }) => taskStore.getTaskResult(taskId),
  });
}

server.registerTool('greet', { inputSchema: { name: z.string() } }, async ({ name }) => text(`Hello, ${name}!`));
task('slow_compute', { seconds: z.number().default(1), label: z.string().default('') }, 'optional', async (args) => {
  await sleep(args.seconds);
  return text(`${args.label}: done`);
});
task('failing_job', {}, 'required', async () => text('synthetic', { isError: true }));
task('protocol_error_job', {}, 'optional', async () => undefined);
task('confirm_delete', { filename: z.string().default('') }, 'optional', async ({ filename }, ask) => {
  await ask(`Delete ${filename}?`);
  return text(`deleted ${filename}`);
});
task('multi_input', {}, 'optional', async (_, ask) => {
  await Promise.all([ask('one'), ask('other')]);
  return text('both');
});

await server.connect(new StdioServerTransport());
