type Schema = Record<string, unknown>;

/**
 * What is wrong with a value by a JSON Schema: as much of the standard as ours uses, and a throw for a keyword it does not know, so
 * that none is passed over. An empty list means that it is right.
 */
export function schemaFaults(schema: unknown, value: unknown, path = '$'): string[] {
  const faults: string[] = [];
  for (const [keyword, operand] of Object.entries(schema as Schema)) {
    const check = keywords[keyword];
    if (check === undefined) throw new Error(`${path}: the keyword "${keyword}" is not known to this test`);
    faults.push(...check(operand, value, path, schema as Schema));
  }
  return faults;
}

type Check = (operand: unknown, value: unknown, path: string, schema: Schema) => string[];

const kinds: Record<string, (value: unknown) => boolean> = {
  object: isMapping,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: (value) => typeof value === 'number',
  integer: (value) => Number.isInteger(value),
};

const annotations = ['$schema', 'title', 'description', 'default', 'examples', 'format'];

const keywords: Record<string, Check> = {
  ...Object.fromEntries(annotations.map((name) => [name, () => []])),
  type: (kind, value, path) => {
    const allowed = [kind].flat().map(String);
    return allowed.some((name) => kinds[name]!(value)) ? [] : [`${path}: is no ${allowed.join(' or ')}`];
  },
  const: (expected, value, path) => (value === expected ? [] : [`${path}: is not ${JSON.stringify(expected)}`]),
  enum: (choices, value, path) => ((choices as unknown[]).includes(value) ? [] : [`${path}: is none of the choices`]),
  minimum: (least, value, path) =>
    typeof value !== 'number' || value >= (least as number) ? [] : [`${path}: too small`],
  maximum: (most, value, path) =>
    typeof value !== 'number' || value <= (most as number) ? [] : [`${path}: too large`],
  minItems: (least, value, path) =>
    !Array.isArray(value) || value.length >= (least as number) ? [] : [`${path}: too short`],
  maxItems: (most, value, path) =>
    !Array.isArray(value) || value.length <= (most as number) ? [] : [`${path}: too long`],
  pattern: (source, value, path) =>
    typeof value !== 'string' || new RegExp(source as string, 'u').test(value) ? [] : [`${path}: does not match`],
  anyOf: (choices, value, path) =>
    (choices as Schema[]).some((choice) => schemaFaults(choice, value, path).length === 0)
      ? []
      : [`${path}: fits nothing`],
  allOf: (all, value, path) => (all as Schema[]).flatMap((each) => schemaFaults(each, value, path)),
  oneOf: (choices, value, path) =>
    (choices as Schema[]).filter((choice) => schemaFaults(choice, value, path).length === 0).length === 1
      ? []
      : [`${path}: does not fit exactly one`],
  required: (names, value, path) =>
    (names as string[])
      .filter((name) => isMapping(value) && !Object.hasOwn(value, name))
      .map((name) => `${path}: no ${name}`),
  properties: (properties, value, path) =>
    Object.entries(properties as Schema).flatMap(([name, property]) =>
      isMapping(value) && Object.hasOwn(value, name) ? schemaFaults(property, value[name], `${path}.${name}`) : [],
    ),
  additionalProperties: (operand, value, path, schema) =>
    !isMapping(value)
      ? []
      : Object.keys(value)
          .filter((name) => !Object.hasOwn((schema['properties'] ?? {}) as Schema, name))
          .flatMap((name) =>
            operand === false ? [`${path}: unknown ${name}`] : schemaFaults(operand, value[name], `${path}.${name}`),
          ),
  propertyNames: (operand, value, path) =>
    isMapping(value) ? Object.keys(value).flatMap((name) => schemaFaults(operand, name, `${path}(${name})`)) : [],
  items: (operand, value, path) =>
    Array.isArray(value) ? value.flatMap((item, index) => schemaFaults(operand, item, `${path}[${index}]`)) : [],
  prefixItems: (operands, value, path) =>
    Array.isArray(value)
      ? (operands as Schema[]).flatMap((operand, index) =>
          index < value.length ? schemaFaults(operand, value[index], `${path}[${index}]`) : [],
        )
      : [],
};

function isMapping(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
