import type { components } from './schema';

type Schemas = components['schemas'];

/** What the API calls its things, under short names. */
export type Lambda = Schemas['Lambda'];
export type Runtime = Schemas['Runtime'];
export type LambdaEvent = Schemas['Event'];
export type Template = Schemas['Template'];
export type Deployment = Schemas['DeploymentOfLambda'];
export type PastDeployment = Schemas['PastDeployment'];
export type DeploymentState = Schemas['DeploymentState'];
export type Invocation = Schemas['InvocationEntry'];
export type LogLine = Schemas['LogLine'];
export type LogRecord = Schemas['LogRecord'];
export type Schedule = Schemas['Schedule'];
export type Domain = Schemas['Domain'];
export type Attempt = Schemas['Attempt'];
export type Secret = Schemas['EncryptedSecret'];
export type Activity = Schemas['Activity'];
export type User = Schemas['User'];
export type Profile = Schemas['Profile'];
export type App = Schemas['App'];
export type Role = Schemas['Role'];
