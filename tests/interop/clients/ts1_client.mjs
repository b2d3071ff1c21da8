// Run a scenario with the TypeScript SDK 1.x: `ts1_client.mjs --scenario FILE -- CMD...`.
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { InMemoryTaskStore } from '@modelcontextprotocol/sdk/experimental/tasks';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    ListRootsRequestSchema,
    McpError,
    ResultSchema
} from '@modelcontextprotocol/sdk/types.js';
import { Session, emit, options, tap } from './common.mjs';

const METHODS = { tools: 'listTools', resources: 'listResources', templates: 'listResourceTemplates', prompts: 'listPrompts' };

const adapter = {
    version: client => client.transport._protocolVersion ?? '2025-11-25',
    error: ({ code, message }) => new McpError(code, message),
    async list(client, kind) {
        const pages = [];
        let cursor;
        do {
            const page = await client[METHODS[kind]](cursor === undefined ? undefined : { cursor });
            pages.push(page);
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        return pages;
    },
    call: (client, name, args, how) => client.callTool({ name, arguments: args }, undefined, how),
    read: (client, uri) => client.readResource({ uri }),
    raw: (client, method, params) => client.request({ method, params }, ResultSchema.passthrough()),
    async task(client, name, args) {
        const seen = [];
        let result;
        for await (const message of client.experimental.tasks.callToolStream({ name, arguments: args }, undefined, { task: { ttl: 60_000 } })) {
            if (message.type === 'result' || message.type === 'error') result = message;
            else if (message.type === 'taskCreated') seen.push('created');
            // How many polls it takes is a matter of timing; which states are seen is not.
            else if (seen.at(-1) !== message.task.status) seen.push(message.task.status);
        }
        return { seen, result };
    }
};

const { scenario, parameters } = options();
const session = new Session(scenario, adapter);
const taskStore = new InMemoryTaskStore();

const client = new Client(
    { name: 'interop-ts1-client', version: '1.0' },
    {
        capabilities: {
            sampling: {},
            elicitation: { form: {}, url: {} },
            roots: { listChanged: true },
            ...(scenario.tasks && {
                tasks: { list: {}, cancel: {}, requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } }
            })
        },
        taskStore
    }
);

/** A request with `task` is done as a task of the client: the server then polls for the result. */
async function maybeTask(request, extra, answer) {
    if (!request.params.task || !extra.taskStore) return answer();
    const task = await extra.taskStore.createTask({ ttl: 60_000, pollInterval: 50 });
    setTimeout(() => extra.taskStore.storeTaskResult(task.taskId, 'completed', answer()), 100);
    return { task };
}

client.setRequestHandler(CreateMessageRequestSchema, (request, extra) => maybeTask(request, extra, () => session.sampling()));
client.setRequestHandler(ElicitRequestSchema, (request, extra) =>
    maybeTask(request, extra, () => session.elicitation(request.params))
);
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: session.rootList }));
client.fallbackNotificationHandler = async notification => session.notified(notification);

const manifest = new URL('../node_modules/@modelcontextprotocol/sdk/package.json', import.meta.url);
emit({ client: 'ts1', sdk: JSON.parse(readFileSync(manifest, 'utf8')).version, era: 'legacy' });
const transport = new StdioClientTransport(parameters);
const exit = tap(transport);
await session.run(async () => {
    await client.connect(transport);
    return client;
});
const { status, at } = await exit.promise;
emit({ closed: { status, seconds: (at - exit.asked) / 1000 } });
process.exit(0);
