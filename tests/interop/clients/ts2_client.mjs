// Run a scenario with the TypeScript SDK 2.x: `ts2_client.mjs --era legacy|modern|auto --scenario FILE -- CMD...`.
import { readFileSync } from 'node:fs';
import { Client, ProtocolError } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import * as z from 'zod';
import { Session, emit, options, tap } from './common.mjs';

const METHODS = { tools: 'listTools', resources: 'listResources', templates: 'listResourceTemplates', prompts: 'listPrompts' };
const MODES = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };
const LOG_LEVEL = 'io.modelcontextprotocol/logLevel';

const adapter = {
    version: client => client.getNegotiatedProtocolVersion(),
    error: ({ code, message }) => new ProtocolError(code, message),
    // This SDK follows the cursors by itself; the pages are in the wire transcript.
    list: (client, kind) => client[METHODS[kind]](undefined, { cacheMode: 'refresh' }),
    call: (client, name, args, how) =>
        client.callTool(
            {
                name,
                arguments: args,
                // It has no option for the level of the modern era: it is asked for in `_meta`, per request.
                ...(scenario.log_level && client.getProtocolEra() === 'modern' && { _meta: { [LOG_LEVEL]: scenario.log_level } })
            },
            how
        ),
    read: (client, uri) => client.readResource({ uri }, { cacheMode: 'refresh' }),
    raw: (client, method, params) => client.request({ method, params }, z.looseObject({})),
    task: () => {
        throw new Error('this SDK has no tasks');
    }
};

const { era, scenario, parameters } = options();
const session = new Session(scenario, adapter);

const client = new Client(
    { name: 'interop-ts2-client', version: '1.0' },
    {
        capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } },
        versionNegotiation: { mode: MODES[era] }
    }
);
client.setRequestHandler('sampling/createMessage', () => session.sampling());
client.setRequestHandler('elicitation/create', request => session.elicitation(request.params));
client.setRequestHandler('roots/list', () => ({ roots: session.rootList }));
client.fallbackNotificationHandler = async notification => session.notified(notification);

// The package does not export its package.json.
const manifest = new URL('../node_modules/@modelcontextprotocol/client/package.json', import.meta.url);
emit({ client: 'ts2', sdk: JSON.parse(readFileSync(manifest, 'utf8')).version, era });
const transport = new StdioClientTransport(parameters);
const exit = tap(transport);
await session.run(async () => {
    await client.connect(transport);
    return client;
});
const { status, at } = await exit.promise;
emit({ closed: { status, seconds: (at - exit.asked) / 1000 } });
process.exit(0);
