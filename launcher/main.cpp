#include "launcher/program.h"
#include "tasks/standard_tasks.h"

int main(int argc, char** argv) {
  return triptych::launcher::run_program(argc, argv, triptych::tasks::standard_tasks());
}
