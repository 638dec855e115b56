// A FHIR R4 (4.0.1) server in memory, for the tests and the demo: node server.mjs --port N
//
// Routing, search, conditional create and update are Medplum's. What it adds: three validators on every write, a
// transaction that is all or nothing, and one request at a time, so that two equal transactions cannot both create.
// It listens on 127.0.0.1 only and forgets everything when it stops.
import http from 'node:http';
import { parseArgs } from 'node:util';
import { getStatus, isOk, normalizeOperationOutcome, Operator } from '@medplum/core';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { loadDefinitions, validate } from './validation.mjs';

const BASE = '/fhir/R4';
const HOST = '127.0.0.1';

class ValidatingRepository extends MemoryRepository {
  async createResource(resource) {
    validate(resource);
    return super.createResource(resource);
  }

  async updateResource(resource, options) {
    validate(resource);
    return super.updateResource(resource, options);
  }

  /** As Medplum's, which evaluates FHIRPath on every stored resource: by identifier, on those that have it alone. */
  search(request) {
    const stored = this.resources.get(request.resourceType);
    const wanted = exactIdentifier(request);
    if (!wanted || !stored) {
      return super.search(request);
    }
    const { system, value } = wanted;
    const has = (resource) => [resource.identifier].flat().some((item) => item?.system === system && item.value === value);
    this.resources.set(request.resourceType, new Map([...stored].filter(([, resource]) => has(resource))));
    try {
      return super.search(request); // searches before it returns its promise
    } finally {
      this.resources.set(request.resourceType, stored);
    }
  }

  /** A function that brings back what is stored now. */
  snapshot() {
    const resources = copyOf(this.resources, (byId) => new Map(byId));
    const history = copyOf(this.history, (byId) => copyOf(byId, (versions) => [...versions]));
    return () => {
      restore(this.resources, resources);
      restore(this.history, history);
    };
  }
}

/** System and value of a search's plain `identifier=system|value`; undefined where it has none. */
function exactIdentifier(request) {
  const filter = request.filters?.find((item) => item.code === 'identifier' && item.operator === Operator.EQUALS);
  const parts = filter?.value.split('|') ?? [];
  const plain = parts.length === 2 && parts[0] && parts[1] && !/[,\\$]/.test(filter.value);
  return plain ? { system: parts[0], value: parts[1] } : undefined;
}

function copyOf(map, copyValue) {
  return new Map([...map].map(([key, value]) => [key, copyValue(value)]));
}

function restore(map, content) {
  map.clear();
  content.forEach((value, key) => map.set(key, value));
}

const repository = new ValidatingRepository();
const router = new FhirRouter();
let queue = Promise.resolve();

/** Status, body and headers of the answer to one request. */
async function answer(request, url, raw) {
  if (url.pathname === `${BASE}/metadata`) {
    return [200, capabilityStatement(), {}];
  }
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) {
    return [404, outcome('not-found', `This server's base is ${BASE}`), {}];
  }
  if (request.method === 'POST' && url.pathname.endsWith('/_search')) {
    return search(request, url, raw); // parameters in the body, so that no identifier stands in a URL
  }
  let body;
  try {
    body = raw ? JSON.parse(raw) : undefined;
  } catch (error) {
    return [400, outcome('structure', `not JSON: ${error.message}`), {}];
  }
  const isTransaction = body?.resourceType === 'Bundle' && body.type === 'transaction';
  const undo = isTransaction ? repository.snapshot() : undefined;
  try {
    if (isTransaction) {
      validate(body);
    }
    const [result, resource] = await router.handleRequest(toMedplum(request, url, body), repository);
    const failed = isTransaction && resource?.entry?.find((entry) => !(Number.parseInt(entry.response?.status, 10) < 400));
    if (failed) {
      undo();
      return [Number.parseInt(failed.response.status, 10), failed.response.outcome, {}];
    }
    return [getStatus(result), resource ?? result, isOk(result) && resource?.id ? resourceHeaders(resource) : {}];
  } catch (error) {
    undo?.();
    if (!error.outcome) {
      console.error(error);
      return [500, outcome('exception', String(error.message)), {}];
    }
    const result = normalizeOperationOutcome(error);
    return [getStatus(result), result, {}];
  }
}

function search(request, url, form) {
  const asGet = new URL(url.href.replace(/\/_search$/, `?${form}`));
  return answer({ method: 'GET', headers: request.headers }, asGet, '');
}

function toMedplum(request, url, body) {
  const query = {};
  for (const name of new Set(url.searchParams.keys())) {
    const values = url.searchParams.getAll(name);
    query[name] = values.length > 1 ? values : values[0];
  }
  const path = url.pathname.slice(BASE.length) || '/';
  return { method: request.method, url: path + url.search, pathname: '', body, params: {}, query, headers: request.headers };
}

function resourceHeaders(resource) {
  const { resourceType, id, meta } = resource;
  const at = `${BASE}/${resourceType}/${id}/_history/${meta.versionId}`;
  return { ETag: `W/"${meta.versionId}"`, Location: at };
}

function outcome(code, diagnostics) {
  return { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, diagnostics }] };
}

function capabilityStatement() {
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: '2026-01-01',
    kind: 'instance',
    fhirVersion: '4.0.1',
    format: ['json'],
    implementation: { description: "Candela's test server, in memory" },
    rest: [{ mode: 'server', interaction: [{ code: 'transaction' }, { code: 'batch' }] }],
  };
}

function serve(port) {
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const url = new URL(request.url, `http://${HOST}`);
      queue = queue
        .then(() => answer(request, url, Buffer.concat(chunks).toString('utf8')))
        .then(([status, body, headers]) => {
          response.writeHead(status, { 'Content-Type': 'application/fhir+json; charset=utf-8', ...headers });
          response.end(JSON.stringify(body));
        });
    });
  });
  server.listen(port, HOST, () => console.log(`http://${HOST}:${server.address().port}${BASE}`));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => process.exit(0));
  }
}

const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
loadDefinitions();
serve(Number(values.port));
