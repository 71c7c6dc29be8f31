// Validates Kubernetes objects of extensions: reads a JSON array from standard input, prints {"name", "faults"} for each.
// Runs in the directory where the packages are installed.
import { pathToFileURL } from 'node:url';

const MODELS = {
  'gateway.networking.k8s.io/v1': 'gateway-api/gateway.networking.k8s.io/v1',
  'monitoring.coreos.com/v1': 'prometheus-operator/monitoring.coreos.com/v1',
};

let text = '';
for await (const chunk of process.stdin) text += chunk;
for (const object of JSON.parse(text)) {
  const module = await import(pathToFileURL(`node_modules/@kubernetes-models/${MODELS[object.apiVersion]}/index.js`));
  let faults = '';
  try {
    new module[object.kind](object).validate();
  } catch (error) {
    faults = error.message;
  }
  console.log(JSON.stringify({ name: `${object.kind}/${object.metadata.name}`, faults }));
}
