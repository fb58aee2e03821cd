// Starts the page: what the server is, the token where one is needed, and the three views.
import * as api from './api.js';
import {announce, byId, plural, showError} from './dom.js';
import {refreshHealth, refreshTasks, store, whenChanged} from './store.js';
import {showTab, startTabs} from './tabs.js';
import {startClassify} from './classify.js';
import {startTasks} from './tasks.js';
import {resumeJobs, startTeach} from './teach.js';

const tokenForm = byId('token-form');
const token = byId('token');

function showStatus({health, tasks, loaded}) {
  if (!health) return;
  const n = loaded ? tasks.length : health.tasks;
  const parts = [health.model, plural(n, 'task'), health.learning ? 'learning' : 'ready'];
  const status = byId('server-status');
  status.textContent = parts.filter(Boolean).join(' · ');
  status.dataset.state = health.learning ? 'learning' : 'ready';
}

function askForToken(message) {
  document.body.dataset.locked = 'true';
  tokenForm.hidden = false;
  byId('forget-token').hidden = true;
  showError(byId('token-error'), message, token);
  token.focus();
}

/** Loads everything that needs the token. */
async function enter() {
  await refreshTasks();
  delete document.body.dataset.locked;
  tokenForm.hidden = true;
  byId('forget-token').hidden = !api.hasToken();
  resumeJobs();
}

tokenForm.addEventListener('submit', async (event) => {
  event.preventDefault();
  const value = token.value.trim();
  if (!value) return askForToken('Type the token first.');
  api.setToken(value);
  try {
    await enter();
    token.value = '';
    announce('The token is accepted.');
    byId('tab-classify').focus();
  } catch (error) {
    askForToken(error.status === 401 ? 'The server does not know this token.' : error.message);
  }
  return undefined;
});

byId('forget-token').addEventListener('click', () => {
  api.setToken('');
  askForToken('');
});

document.addEventListener('moeclip-unauthorized', () => {
  const message = api.hasToken() ? 'The server does not know this token.' : '';
  api.setToken('');
  if (tokenForm.hidden || message) askForToken(message);
});

async function connect() {
  const place = byId('connection-error');
  try {
    const health = await refreshHealth();
    showError(place, '');
    if (health.auth && !api.hasToken()) return askForToken('');
    await enter();
  } catch (error) {
    if (error.status === 401) return undefined;
    byId('server-status').textContent = 'Not connected';
    byId('server-status').dataset.state = 'lost';
    showError(place, `${error.message} This page tries again every few seconds.`);
    setTimeout(connect, 4000);
  }
  return undefined;
}

whenChanged(showStatus);
startClassify(store);
startTasks();
startTeach(showTab);
startTabs();
connect();
