// A server on the TypeScript SDK 2.x that serves both eras. Handlers are written once: the SDK turns
// `inputRequired` into real requests on a legacy connection.
import {
    McpServer,
    ProtocolError,
    ResourceTemplate,
    acceptedContent,
    completable,
    inputRequired,
    inputResponse
} from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import * as z from 'zod';

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const text = value => ({ content: [{ type: 'text', text: String(value) }] });

// Tools on a page.
const PAGE = 5;
// Without a schema the handler would get its context as the first argument.
const none = z.object({});

function createServer() {
    const seen = { cancelled: 0, rootsChanged: 0 };
    const server = new McpServer(
        { name: 'interop-ts2', title: 'Interop (TypeScript 2)', version: '3.2.1', websiteUrl: 'https://example.org/ts2' },
        {
            instructions: 'Instructions of ts2: \u2028 \u{1f600}',
            capabilities: {
                tools: { listChanged: true },
                resources: { subscribe: true, listChanged: true },
                prompts: { listChanged: true },
                logging: {},
                completions: {}
            },
            cacheHints: {
                'tools/list': { ttlMs: 30_000, cacheScope: 'public' },
                'resources/list': { ttlMs: 500, cacheScope: 'private' }
            }
        }
    );

    server.registerTool(
        'echo',
        {
            title: 'Echo',
            description: 'Return the text',
            inputSchema: z.object({ text: z.string() }),
            annotations: { readOnlyHint: true },
            _meta: { 'example.org/kind': 'echo' }
        },
        async ({ text: value }) => text(value)
    );
    server.registerTool(
        'weather',
        {
            description: 'Structured content',
            inputSchema: z.object({ city: z.enum(['Bern', 'Zürich']) }),
            outputSchema: z.object({ city: z.string(), temperature: z.number() })
        },
        async ({ city }) => {
            const structuredContent = { city, temperature: 20.5 };
            return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
        }
    );
    server.registerTool('media', { description: 'Content blocks', inputSchema: none }, async () => ({
        content: [
            { type: 'text', text: 'text', annotations: { audience: ['user'], priority: 0.25 } },
            { type: 'image', data: 'AAEC', mimeType: 'image/png' },
            { type: 'audio', data: 'AAEC', mimeType: 'audio/wav' },
            { type: 'resource_link', uri: 'memo://text', name: 'text' },
            { type: 'resource', resource: { uri: 'memo://inline', text: 'inline', mimeType: 'text/plain' } }
        ],
        _meta: { 'example.org/trace': [1, null, true] }
    }));
    server.registerTool('any', { inputSchema: z.object({ value: z.any() }) }, async ({ value }) => text(JSON.stringify(value)));
    server.registerTool('big', { inputSchema: z.object({ size: z.number() }) }, async ({ size }) => text('y'.repeat(size)));
    server.registerTool('length', { inputSchema: z.object({ text: z.string() }) }, async ({ text: value }) => text(value.length));
    server.registerTool('fail', { inputSchema: z.object({ message: z.string() }) }, async ({ message }) => ({
        ...text(message),
        isError: true
    }));
    server.registerTool('crash', { inputSchema: none }, async () => {
        throw new Error('crashed');
    });
    server.registerTool('refuse', { inputSchema: z.object({ code: z.number() }) }, async ({ code }) => {
        // Turned into a result with isError by this SDK.
        throw new ProtocolError(code, 'refused by the tool', { hint: true });
    });
    server.registerTool(
        'slow',
        { inputSchema: z.object({ steps: z.number(), delay: z.number() }) },
        async ({ steps, delay }, ctx) => {
            const progressToken = ctx.mcpReq._meta?.progressToken;
            ctx.mcpReq.signal.addEventListener('abort', () => seen.cancelled++);
            for (let step = 1; step <= steps; step++) {
                await sleep(delay * 1000);
                if (ctx.mcpReq.signal.aborted) return text('cancelled');
                if (progressToken !== undefined) {
                    await ctx.mcpReq.notify({
                        method: 'notifications/progress',
                        params: { progressToken, progress: step, total: steps, message: `step ${step}` }
                    });
                }
            }
            // The last report does not come in one read with the answer.
            await sleep(delay * 1000);
            return text(`done ${steps}`);
        }
    );
    server.registerTool(
        'delayed',
        { inputSchema: z.object({ index: z.number(), delay: z.number() }) },
        async ({ index, delay }) => {
            await sleep(delay * 1000);
            return text(`index ${index}`);
        }
    );
    server.registerTool('log', { inputSchema: none }, async (_args, ctx) => {
        await ctx.mcpReq.log('debug', 'quiet', 'interop');
        await ctx.mcpReq.log('info', { text: 'structured', n: [1, 2] }, 'interop');
        await ctx.mcpReq.log('error', 'loud');
        return text('logged');
    });
    server.registerTool('state', { inputSchema: none }, async () => text(JSON.stringify(seen)));
    server.registerTool('change', { inputSchema: z.object({ kind: z.string() }) }, async ({ kind }) => {
        if (kind === 'tools') {
            server.registerTool('extra', { description: 'A tool that came later' }, async () => text('extra'));
        } else if (kind === 'prompts') {
            server.sendPromptListChanged();
        } else if (kind === 'resources') {
            server.sendResourceListChanged();
        } else {
            await server.server.sendResourceUpdated({ uri: kind });
        }
        return text(kind);
    });
    server.registerTool('sample', { inputSchema: z.object({ prompt: z.string() }) }, async ({ prompt }, ctx) => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'model');
        if (answer.kind === 'missing') {
            return inputRequired({
                inputRequests: {
                    model: inputRequired.createMessage({
                        messages: [{ role: 'user', content: { type: 'text', text: prompt } }],
                        maxTokens: 32,
                        systemPrompt: 'Be brief.'
                    })
                }
            });
        }
        return text(JSON.stringify(answer.result));
    });
    server.registerTool('ask', { inputSchema: none }, async (_args, ctx) => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'name');
        if (answer.kind === 'missing') {
            return inputRequired({
                inputRequests: {
                    name: inputRequired.elicit({
                        message: 'What is your name?',
                        requestedSchema: {
                            type: 'object',
                            properties: { name: { type: 'string', title: 'Name' }, age: { type: 'integer', default: 30 } },
                            required: ['name']
                        }
                    })
                },
                requestState: 'round-1'
            });
        }
        const content = acceptedContent(ctx.mcpReq.inputResponses, 'name');
        return text(`${answer.action} ${JSON.stringify(content ?? null)} ${ctx.mcpReq.requestState() ?? null}`);
    });
    server.registerTool('ask_twice', { inputSchema: none }, async (_args, ctx) => {
        const state = ctx.mcpReq.requestState();
        const sure = message => ({
            message,
            requestedSchema: { type: 'object', properties: { sure: { type: 'boolean' } }, required: ['sure'] }
        });
        if (state === undefined) {
            return inputRequired({
                inputRequests: { first: inputRequired.elicit(sure('First?')), roots: inputRequired.listRoots() },
                requestState: 'one'
            });
        }
        if (state === 'one') {
            const roots = inputResponse(ctx.mcpReq.inputResponses, 'roots');
            return inputRequired({
                inputRequests: { second: inputRequired.elicit(sure('Second?')) },
                requestState: `two:${roots.roots.length}`
            });
        }
        return text(`${state} ${inputResponse(ctx.mcpReq.inputResponses, 'second').action}`);
    });
    server.registerTool('roots', { inputSchema: none }, async (_args, ctx) => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'roots');
        if (answer.kind === 'missing') return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
        return text(JSON.stringify(answer.roots));
    });
    server.registerTool('open_url', { inputSchema: none }, async (_args, ctx) => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'page');
        if (answer.kind === 'missing') {
            return inputRequired({
                inputRequests: { page: inputRequired.elicitUrl({ message: 'Please sign in', url: 'https://example.org/in?a=1&b=2' }) }
            });
        }
        return text(answer.action);
    });

    server.registerResource('text', 'memo://text', { mimeType: 'text/plain', description: 'Text' }, async uri => ({
        contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'one\u2028two\u0085three\r\nfour' }]
    }));
    server.registerResource('bytes', 'memo://bytes', { cacheHint: { ttlMs: 5_000, cacheScope: 'public' } }, async uri => ({
        contents: [{ uri: uri.href, mimeType: 'application/octet-stream', blob: 'AAECAwQF' }]
    }));
    server.registerResource('asked', 'memo://asked', {}, async (uri, ctx) => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'sure');
        if (answer.kind === 'missing') {
            return inputRequired({
                inputRequests: {
                    sure: inputRequired.elicit({
                        message: 'Read it?',
                        requestedSchema: { type: 'object', properties: { sure: { type: 'boolean' } } }
                    })
                }
            });
        }
        return { contents: [{ uri: uri.href, text: answer.action }] };
    });
    server.registerResource(
        'note',
        new ResourceTemplate('memo://notes/{number}', {
            list: async () => ({
                resources: Array.from({ length: 3 }, (_, index) => ({ name: `note ${index}`, uri: `memo://notes/${index}` }))
            }),
            complete: { number: value => ['1', '10', '100'].filter(number => number.startsWith(value)) }
        }),
        { description: 'A note' },
        async (uri, { number }) => ({ contents: [{ uri: uri.href, text: `note ${number}` }] })
    );

    server.registerPrompt(
        'greet',
        {
            title: 'Greeting',
            argsSchema: z.object({
                name: z.string(),
                tone: completable(z.string(), value => ['formal', 'friendly'].filter(tone => tone.startsWith(value)))
            })
        },
        async ({ name, tone }) => ({
            description: 'A greeting',
            messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name}: ${tone}` } }]
        })
    );
    server.registerPrompt('asked', {}, async ctx => {
        const answer = inputResponse(ctx.mcpReq.inputResponses, 'sure');
        if (answer.kind === 'missing') {
            return inputRequired({
                inputRequests: {
                    sure: inputRequired.elicit({
                        message: 'Get it?',
                        requestedSchema: { type: 'object', properties: { sure: { type: 'boolean' } } }
                    })
                }
            });
        }
        return { messages: [{ role: 'assistant', content: { type: 'text', text: answer.action } }] };
    });

    // The SDK lists everything on one page; a second handler cuts what the first one returns into pages.
    paginate(server.server, 'tools/list', 'tools');
    server.server.setRequestHandler('resources/subscribe', async () => ({}));
    server.server.setRequestHandler('resources/unsubscribe', async () => ({}));
    server.server.setNotificationHandler('notifications/roots/list_changed', () => {
        seen.rootsChanged++;
    });
    return server;
}

function paginate(protocol, method, member) {
    const list = protocol._requestHandlers.get(method);
    protocol._requestHandlers.set(method, async (request, ctx) => {
        const result = await list(request, ctx);
        const start = Number(request.params?.cursor ?? 0);
        const all = result[member];
        const next = start + PAGE < all.length ? { nextCursor: String(start + PAGE) } : {};
        return { ...result, [member]: all.slice(start, start + PAGE), ...next };
    });
}

serveStdio(createServer);
console.error('[server] ts2: started');
