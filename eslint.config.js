import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

// Missing on Node 20, which we support: the linter is where that is noticed, not a user's machine.
const absentOnNode20 = [
  ['Promise', 'withResolvers'],
  ['Array', 'fromAsync'],
  ['Map', 'groupBy'],
  ['Object', 'groupBy'],
  ['JSON', 'rawJSON'],
];

export default defineConfig(
  { ignores: ['dist/', 'coverage/', 'docs/api/', 'test/fixtures/', '.tmp/'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js'] } } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-console': 'error',
      eqeqeq: 'error',
      'no-restricted-properties': [
        'error',
        ...absentOnNode20.map(([object, property]) => ({ object, property, message: 'Absent on Node 20.' })),
      ],
    },
  },
  {
    files: ['test/**', 'bench/**', 'examples/**', 'scripts/**'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off', 'no-console': 'off' },
  },
);
