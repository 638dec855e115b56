// Validates resources: node validate.mjs R4|R5 < array.json > problems.json
//
// In: a JSON array of resources. Out: a JSON array of as many lists of problems, each a string with its place.
// R4 (4.0.1): the three validators of the server, see validation.mjs.
// R5 (5.0.0): structure, cardinality, formats and FHIRPath invariants are judged by Medplum's validator from HL7's own
// definitions (npm hl7.fhir.r5.core); codes of required bindings, types of references and two of one choice element
// (value[x]) are judged here, from the same package.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { loadDefinitions, validate } from './validation.mjs';

const folder = path.dirname(createRequire(import.meta.url).resolve('hl7.fhir.r5.core/package.json'));
const read = (name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
const names = readdirSync(folder);
const definitions = new Map();
const codes = new Map(); // canonical URL of a value set → codes, or null where it cannot be listed

function load() {
  const all = names
    .filter((name) => name.startsWith('StructureDefinition-'))
    .map(read)
    .filter((definition) => ['resource', 'complex-type', 'primitive-type'].includes(definition.kind) && definition.derivation !== 'constraint');
  all.forEach((definition) => definitions.set(definition.type, definition));
  const entry = all.map((resource) => ({ resource }));
  indexStructureDefinitionBundle({ resourceType: 'Bundle', type: 'collection', entry });
}

function thrown(judge, resource) {
  try {
    judge(resource);
    return [];
  } catch (error) {
    const issues = error.outcome?.issue ?? [{ severity: 'error', diagnostics: String(error) }];
    return issues
      .filter((issue) => issue.severity === 'error' || issue.severity === 'fatal')
      .map((issue) => `${issue.expression?.[0] ?? ''} ${issue.details?.text ?? issue.diagnostics}`);
  }
}

function problemsOf(resource) {
  const problems = thrown(validateResource, resource);
  walk(resource, resource.resourceType, resource.resourceType, problems);
  return problems;
}

/** Checks required bindings and reference types of `value`, whose type's definition has `element` paths under `prefix`. */
function walk(value, type, prefix, problems, at = prefix) {
  const definition = definitions.get(type);
  if (!definition) {
    return;
  }
  for (const element of definition.snapshot.element) {
    const rest = element.path.slice(prefix.length + 1);
    if (!element.path.startsWith(`${prefix}.`) || rest.includes('.')) {
      continue;
    }
    let chosen = 0;
    for (const kind of element.type ?? []) {
      const key = rest.endsWith('[x]') ? rest.slice(0, -3) + kind.code[0].toUpperCase() + kind.code.slice(1) : rest;
      if (value[key] === undefined) {
        continue;
      }
      chosen += 1;
      [value[key]].flat().forEach((item, index) => check(item, element, kind, type, `${at}.${key}[${index}]`, problems));
    }
    if (chosen > 1) {
      problems.push(`${at}.${rest} more than one`);
    }
  }
}

function check(item, element, kind, type, at, problems) {
  if (element.binding?.strength === 'required') {
    const allowed = codesOf(element.binding.valueSet);
    const given = typeof item === 'string' ? [item] : (item.coding ?? [item]).map((coding) => coding.code);
    for (const code of given.filter((one) => allowed && one !== undefined && !allowed.has(one))) {
      problems.push(`${at} ${code} is not in ${element.binding.valueSet}`);
    }
  }
  if (kind.code === 'Reference' && item.type && kind.targetProfile) {
    const targets = kind.targetProfile.map((url) => url.split('/').pop());
    if (!targets.includes('Resource') && !targets.includes(item.type)) {
      problems.push(`${at} refers to a ${item.type}, not to ${targets.join(', ')}`);
    }
  }
  if (typeof item === 'object') {
    const backbone = ['BackboneElement', 'Element'].includes(kind.code);
    walk(item, backbone ? type : kind.code, backbone ? element.path : kind.code, problems, at);
  }
}

/** The codes of a value set that lists code systems or codes of this package; null for those that it cannot list. */
function codesOf(canonical) {
  const url = canonical.split('|')[0];
  if (!codes.has(url)) {
    codes.set(url, listed(url));
  }
  return codes.get(url);
}

function listed(url) {
  const set = byUrl('ValueSet', url);
  const parts = (set?.compose?.include ?? []).map((include) => {
    if (include.concept) {
      return include.concept.map((concept) => concept.code);
    }
    const system = include.filter || include.valueSet ? undefined : byUrl('CodeSystem', include.system);
    return system?.content === 'complete' ? flat(system.concept) : null;
  });
  return parts.length === 0 || parts.includes(null) ? null : new Set(parts.flat());
}

function byUrl(kind, url) {
  const name = `${kind}-${url.split('/').pop()}.json`;
  return names.includes(name) ? read(name) : undefined;
}

function flat(concepts) {
  return concepts.flatMap((concept) => [concept.code, ...flat(concept.concept ?? [])]);
}

const release = process.argv[2];
if (release === 'R4') {
  loadDefinitions();
} else {
  load();
}
const judge = release === 'R4' ? (resource) => thrown(validate, resource) : problemsOf;
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(judge)));
