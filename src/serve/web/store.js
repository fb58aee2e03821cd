// What the page knows of the server, kept in one place; views ask to be told when it changes.
import * as api from './api.js';

export const store = {health: null, method: null, tasks: [], matrix: null, loaded: false};
const listeners = [];

export const whenChanged = (callback) => listeners.push(callback);
const tell = () => listeners.forEach((callback) => callback(store));

export async function refreshHealth() {
  store.health = await api.health();
  tell();
  return store.health;
}

export async function refreshTasks() {
  const {method, tasks, matrix} = await api.tasks();
  store.method = method || null;
  store.tasks = tasks || [];
  store.matrix = matrix || null;
  store.loaded = true;
  tell();
}
