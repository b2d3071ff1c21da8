// What the two TypeScript clients share: options, transcript, steps that look the same in both SDKs.
import { readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';

export const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000));

export function emit(record) {
    let data = Buffer.from(JSON.stringify(record) + '\n');
    // stdout may be a pipe nobody has read yet: write all of it, synchronously and in order.
    while (data.length > 0) {
        try {
            data = data.subarray(writeSync(1, data));
        } catch (error) {
            if (error.code !== 'EAGAIN') throw error;
        }
    }
}

export function options() {
    const split = process.argv.indexOf('--');
    const { values } = parseArgs({
        args: process.argv.slice(2, split),
        options: { era: { type: 'string', default: 'legacy' }, scenario: { type: 'string' } }
    });
    const [command, ...args] = process.argv.slice(split + 1);
    const scenario = JSON.parse(readFileSync(values.scenario, 'utf8'));
    const env = {};
    for (const name of scenario.env ?? []) if (process.env[name] !== undefined) env[name] = process.env[name];
    return { era: values.era, scenario, parameters: { command, args, env, cwd: scenario.cwd, stderr: 'inherit' } };
}

/** {"$repeat": [text, count]}: a megabyte is not written out in a scenario. */
export function expand(value) {
    if (Array.isArray(value)) return value.map(expand);
    if (value === null || typeof value !== 'object') return value;
    if (value.$repeat) return value.$repeat[0].repeat(value.$repeat[1]);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expand(item)]));
}

function indexed(value, index) {
    if (value === null || typeof value !== 'object') return value;
    if (value.$index !== undefined) return index * value.$index;
    if (value.$reverse) return (value.$reverse[1] - index) * value.$reverse[0];
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, indexed(item, index)]));
}

/**
 * Copy what passes the transport. Own properties, not a subclass: SDK 2.x starts a sibling for its probe
 * only for exactly its own class.
 */
export function tap(transport) {
    const send = transport.send.bind(transport);
    transport.send = (message, ...rest) => {
        emit({ wire: 'sent', raw: JSON.stringify(message) });
        return send(message, ...rest);
    };
    let handler;
    Object.defineProperty(transport, 'onmessage', {
        get: () => handler,
        set: value => {
            handler =
                value &&
                ((message, ...rest) => {
                    emit({ wire: 'received', raw: JSON.stringify(message) });
                    value(message, ...rest);
                });
        }
    });
    const { start, close } = transport;
    const exit = {};
    exit.promise = new Promise(resolve => (exit.resolve = resolve));
    transport.start = async () => {
        await start.call(transport);
        transport._process.once('exit', (status, signal) => exit.resolve({ status: status ?? signal, at: Date.now() }));
    };
    transport.close = () => {
        exit.asked ??= Date.now();
        return close.call(transport);
    };
    return exit;
}

/** The steps, in terms of an adapter for one SDK. */
export class Session {
    constructor(scenario, adapter) {
        this.scenario = scenario;
        this.adapter = adapter;
        this.answers = scenario.answer ?? {};
        this.rootList = scenario.roots ?? [];
        this.notifications = [];
        this.listens = new Map();
    }

    // What the server asks of the client.

    sampling() {
        if (this.answers.sampling?.error) throw this.adapter.error(this.answers.sampling.error);
        return {
            role: 'assistant',
            content: { type: 'text', text: 'A fixed answer: \u2028 ü' },
            model: 'fixed-model',
            stopReason: 'endTurn'
        };
    }

    elicitation(params) {
        const { action, content } = this.answers[params.mode ?? 'form'] ?? { action: 'accept' };
        if (content === undefined || params.mode === 'url') return { action };
        // One set of answers serves every form: give what this form asks for.
        const asked = Object.keys(params.requestedSchema.properties).filter(key => key in content);
        return { action, content: Object.fromEntries(asked.map(key => [key, content[key]])) };
    }

    notified(notification) {
        this.notifications.push(notification);
    }

    async run(connect) {
        emit({ step: 'connect' });
        const client = (this.client = await connect());
        emit({
            result: {
                version: this.adapter.version(client),
                server: client.getServerVersion(),
                capabilities: client.getServerCapabilities(),
                instructions: client.getInstructions()
            }
        });
        for (const step of this.scenario.steps) {
            const { op, name, uri, unordered } = step;
            emit({ step: op, name, uri, unordered });
            try {
                emit({ result: (await this[op](step)) ?? null });
            } catch (error) {
                emit({ error: { type: error.constructor.name, code: error.code, message: error.message, data: error.data } });
            }
        }
        emit({ step: 'close' });
        await client.close();
    }

    list({ kind }) {
        return this.adapter.list(this.client, kind);
    }

    async call({ name, args, progress }) {
        const seen = [];
        const onprogress = ({ progress: value, total, message }) => seen.push([value, total, message]);
        const result = await this.adapter.call(this.client, name, expand(args), progress ? { onprogress } : {});
        return progress === 'caller' ? { result, progress: seen } : result;
    }

    concurrent({ name, args, count }) {
        const calls = Array.from({ length: count }, (_, index) => this.adapter.call(this.client, name, indexed(args, index), {}));
        return Promise.all(calls);
    }

    /** Cancel a call once it has reported progress: then it is certain that it runs. */
    async cancel({ name, args }) {
        const abort = new AbortController();
        const call = this.adapter.call(this.client, name, args, {
            signal: abort.signal,
            onprogress: () => abort.abort('no longer needed')
        });
        try {
            return await call;
        } catch (error) {
            if (!abort.signal.aborted) throw error;
            return 'cancelled';
        }
    }

    read({ uri }) {
        return this.adapter.read(this.client, uri);
    }

    prompt({ name, args }) {
        return this.client.getPrompt({ name, ...(args && { arguments: args }) });
    }

    complete({ ref, argument, context }) {
        return this.client.complete({ ref, argument, ...(context && { context: { arguments: context } }) });
    }

    level({ level }) {
        return this.client.setLoggingLevel(level);
    }

    ping() {
        return this.client.ping();
    }

    subscribe({ uri }) {
        return this.client.subscribeResource({ uri });
    }

    unsubscribe({ uri }) {
        return this.client.unsubscribeResource({ uri });
    }

    roots({ roots }) {
        this.rootList = roots;
        return this.client.sendRootsListChanged();
    }

    answer({ answer }) {
        Object.assign(this.answers, answer);
    }

    sleep({ seconds }) {
        return sleep(seconds);
    }

    raw({ method, params }) {
        return this.adapter.raw(this.client, method, params);
    }

    task({ name, args }) {
        return this.adapter.task(this.client, name, args);
    }

    /** Wait until `count` notifications of one method have arrived, and take them. */
    async wait({ method, count = 1, seconds = 5 }) {
        const matching = () => this.notifications.filter(notification => notification.method === method);
        for (let left = seconds * 100; matching().length < count && left > 0; left--) await sleep(0.01);
        const found = matching();
        this.notifications = this.notifications.filter(notification => !found.includes(notification));
        return found;
    }

    async listen({ key, filter }) {
        const subscription = await this.client.listen(filter);
        this.listens.set(key, subscription);
        return subscription.honoredFilter;
    }

    async unlisten({ key }) {
        const subscription = this.listens.get(key);
        await subscription.close();
        return subscription.closed;
    }
}
