// The server's interface: requests with the token, errors in plain words, uploads with progress, the stream of a job's events.

const KEY = 'moeclip-token';
let token = sessionStorage.getItem(KEY) || '';

export const hasToken = () => token !== '';
export function setToken(value) {
  token = value;
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const headers = () => (token ? {Authorization: `Bearer ${token}`} : {});
const BROKEN_UPLOAD = 'The upload broke off: the server closed the connection or cannot be reached.';
const UNREACHABLE = 'The server does not answer. Check that moeclip serve is still running, then try again.';

/** What to tell a person: the server's own sentence, and what can be done where that is known. */
function failure(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error || {};
  } catch {
    // Not JSON: something between us and the server answered.
  }
  let message = error.message || `The server answered with status ${status}.`;
  if (!/[.!?]$/.test(message)) message += '.';
  if (status === 401) message = 'The server asks for a valid token.';
  if (status === 413) message = `That is more than the server takes at once. ${message}`;
  if (status === 503) message = `The server is busy${retryAfter ? `; try again in ${retryAfter} s` : ''}. ${message}`;
  if (status === 401) document.dispatchEvent(new CustomEvent('moeclip-unauthorized'));
  return new ApiError(status, error.code || '', message);
}

async function request(method, path, options = {}) {
  let response;
  try {
    response = await fetch(path, {method, cache: 'no-store', ...options, headers: {...headers(), ...options.headers}});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', UNREACHABLE);
  }
  if (!response.ok) throw failure(response.status, await response.text().catch(() => ''), response.headers.get('Retry-After'));
  return response;
}

async function answer(method, path, options) {
  const response = await request(method, path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'not_json', 'The answer of the server was cut off. Try again.');
  }
}

export const health = () => answer('GET', '/healthz');
export const tasks = () => answer('GET', '/v1/tasks');
export const classify = (form, signal) => answer('POST', '/v1/classify', {body: form, signal});
export const cancel = (id) => request('DELETE', `/v1/jobs/${encodeURIComponent(id)}`);
export const job = async (id) => (await answer('GET', `/v1/jobs/${encodeURIComponent(id)}`)).job;

export async function jobs() {
  const all = await answer('GET', '/v1/jobs');
  return all.jobs || (all.job ? [all.job] : []);
}

/** Starts to learn. body: FormData, or an object that is sent as JSON. progress(sent, total) while it is uploaded. */
export function learn(body, progress, signal) {
  return new Promise((resolve, reject) => {
    // XMLHttpRequest, because fetch does not tell how much has been sent.
    const xhr = new XMLHttpRequest();
    xhr.open('POST', '/v1/learn');
    for (const [name, value] of Object.entries(headers())) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded, event.total);
    xhr.onerror = () => reject(new ApiError(0, 'unreachable', BROKEN_UPLOAD));
    xhr.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    xhr.onload = () => {
      if (xhr.status < 200 || xhr.status > 299) {
        return reject(failure(xhr.status, xhr.responseText, xhr.getResponseHeader('Retry-After')));
      }
      try {
        resolve(JSON.parse(xhr.responseText).job);
      } catch {
        reject(new ApiError(0, 'not_json', 'The answer of the server was cut off. Look under Progress whether the job runs.'));
      }
      return undefined;
    };
    signal.addEventListener('abort', () => xhr.abort());
    if (body instanceof FormData) {
      xhr.send(body);
    } else {
      xhr.setRequestHeader('Content-Type', 'application/json');
      xhr.send(JSON.stringify(body));
    }
  });
}

/** Cuts a stream of server-sent events into {event, data}; comments are dropped. */
async function* parseEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const blocks = (rest + value).replace(/\r\n?/g, '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let event = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) event = line.slice(6).trim();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (data.length) yield {event, data: data.join('\n')};
    }
  }
}

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const ENDED = new Set(['done', 'failed', 'cancelled']);
export const isOver = (j) => ENDED.has(j.state);

/** Follows a job to its end: seen(job) for each report; gives the last one. A stream that breaks is opened again. */
export async function follow(id, seen) {
  for (let failures = 0; ; failures++) {
    try {
      // EventSource cannot send the token, so the stream is read by hand.
      const path = `/v1/jobs/${encodeURIComponent(id)}/events`;
      const response = await request('GET', path, {headers: {Accept: 'text/event-stream'}});
      for await (const {event, data} of parseEvents(response.body)) {
        const now = JSON.parse(data);
        const state = now.job || now;
        failures = 0;
        seen(state);
        if (event === 'end' || isOver(state)) return state;
      }
      const state = await job(id); // the stream closed without an end
      seen(state);
      if (isOver(state)) return state;
    } catch (error) {
      if (error.status === 401 || error.status === 404 || failures >= 5) throw error;
    }
    await wait(500 * 2 ** failures);
  }
}
